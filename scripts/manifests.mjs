// Renders deploy/values/*.yaml by the chart into deploy/manifests/. With --check it changes nothing and fails where they differ.
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
  // Nothing here is Helm's any more.
  const plain = rendered
    .replaceAll('app.kubernetes.io/managed-by: Helm', 'app.kubernetes.io/managed-by: kubectl')
    .replaceAll(/^ *helm\.sh\/chart: .*\n/gm, '')
    .replaceAll(/^# Source: .*\n/gm, '');
  const path = `deploy/manifests/${name}.yaml`;
  const text = `# Made by \`make manifests\` from the chart and ${`deploy/values/${file}`}: change those, not this.\n${plain}`;
  if (!isCheck) writeFileSync(path, text);
  else if (readOld(path) !== text) {
    different += 1;
    console.error(`${path} is not what the chart renders: run make manifests`);
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
