import { readFile } from 'node:fs/promises';
import { runSmokeTest } from './smoke-test.ts';
import { connectWithKubectl } from './kubectl-proxy.ts';

/**
 * The program that `make e2e-cluster` runs. It is not a test file, so that ^C cleans up and a
 * failure is one message.
 */
async function main(): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (!stop.signal.aborted) report(`${signal}: what was made is removed first`);
      stop.abort(new Error('stopped before its end'));
    });
  }
  const manifest = setting('MANIFEST');
  if (manifest === undefined)
    throw new Error(
      'no manifest: run make e2e-cluster MANIFEST=class.yaml, with your SecretProviderClass and the objects that its pod needs; see test/e2e/README.md',
    );
  const text = await readFile(manifest, 'utf8').catch((error: unknown) => {
    throw new Error(`MANIFEST cannot be read: ${messageOf(error)}`);
  });
  const [kubeconfig, context] = [setting('KUBECONFIG'), setting('CONTEXT')];
  const { kube, name } = await connectWithKubectl({
    ...(kubeconfig !== undefined && { kubeconfig }),
    ...(context !== undefined && { context }),
  });
  report(`cluster: ${name}`);
  const [serviceAccount, node, useNamespace] = [
    ...[setting('SERVICE_ACCOUNT'), setting('POD_NODE'), setting('USE_NAMESPACE')],
  ];
  try {
    await runSmokeTest({
      ...{ kube, manifest: text, report, signal: stop.signal, podTimeoutMs: 180_000 },
      image: setting('POD_IMAGE') ?? 'registry.k8s.io/pause:3.10',
      ...(serviceAccount !== undefined && { serviceAccount }),
      ...(node !== undefined && { node }),
      ...(useNamespace !== undefined && { useNamespace }),
    });
    report('PASSED');
  } finally {
    await kube.close();
  }
}

/** make passes unset variables as empty ones. */
function setting(name: string): string | undefined {
  const value = process.env[name];
  return value === '' ? undefined : value;
}

function report(line: string): void {
  process.stderr.write(`${line}\n`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

main().catch((error: unknown) => {
  report(`FAILED: ${messageOf(error)}`);
  process.exitCode = 1;
});
