import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseObjects, type KubeObject } from '../driver/kube-client.ts';
import { programInPath } from '../servers/go-program.ts';

const project = join(import.meta.dirname, '../..');
/** The path of the helm that `make manifests` builds. */
const toolsDirectory = join(project, '.tools/bin');

/** Helm: the one that we build, or the one of this machine. */
export async function findHelm(): Promise<string | undefined> {
  return (await programInPath('helm', toolsDirectory)) ?? (await programInPath('helm'));
}

/** What is missing to render the chart; undefined if nothing is. */
export async function missingChartDependencies(): Promise<readonly string[]> {
  return (await findHelm()) === undefined ? ['helm (make manifests builds one)'] : [];
}

/**
 * The objects that `helm template keyferry --namespace kube-system` renders from these values for a
 * cluster of this version.
 */
export async function renderChart(
  values: object,
  kubeVersion = 'v1.34.2',
): Promise<readonly KubeObject[]> {
  const rendering = promisify(execFile)(
    (await findHelm()) ?? 'helm',
    [
      ...['template', 'keyferry', join(project, 'charts/keyferry'), '--namespace', 'kube-system'],
      ...['--kube-version', kubeVersion, '--include-crds', '--values', '-'],
    ],
    { maxBuffer: 16 * 1024 * 1024 },
  );
  rendering.child.stdin?.end(
    JSON.stringify({ image: { repository: 'registry.example/keyferry' }, ...values }),
  );
  return parseObjects((await rendering).stdout);
}
