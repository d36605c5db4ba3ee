// Renders the chart with deploy/values/*.yaml into deploy/manifests/. With --check it changes
// nothing and fails if the files differ.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { parse } from 'node:path';

const helm = process.env.HELM ?? '.tools/bin/helm';
const isCheck = process.argv.includes('--check');
mkdirSync('deploy/manifests', { recursive: true });
let different = 0;
for (const file of readdirSync('deploy/values').sort()) {
  const { name } = parse(file);
  const args = [
    '--namespace',
    'kube-system',
    '--kube-version',
    'v1.34.0',
    '--values',
    `deploy/values/${file}`,
  ];
  const rendered = execFileSync(helm, ['template', 'keyferry', 'charts/keyferry', ...args], {
    encoding: 'utf8',
  });
  // The manifests are applied by kubectl, so they must not have Helm's labels, nor name the chart's
  // values in messages.
  const plain = rendered
    .replaceAll('app.kubernetes.io/managed-by: Helm', 'app.kubernetes.io/managed-by: kubectl')
    .replaceAll(/^ *helm\.sh\/chart: .*\n/gm, '')
    .replaceAll(/^ *- name: KEYFERRY_SHARED_IDENTITIES_VALUE\n.*\n/gm, '')
    .replaceAll(/^# Source: .*\n/gm, '');
  const path = `deploy/manifests/${name}.yaml`;
  const text = `# Made by \`make manifests\` from the chart and ${`deploy/values/${file}`}: change those, not this.\n${plain}`;
  if (!isCheck) writeFileSync(path, text);
  else if (readOld(path) !== text) {
    different += 1;
    console.error(`${path} differs from what the chart renders: run make manifests`);
  }
}
process.exitCode = different === 0 ? 0 : 1;

function readOld(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
