import { test } from '@jest/globals';
import { readFile } from 'node:fs/promises';
import { tryCluster } from './any-cluster.ts';
import { connectByKubectl, kubectlLacks } from './kubectl-proxy.ts';
import { describeWhere } from './where-possible.ts';

const { MANIFEST = '', KUBECONFIG, SERVICE_ACCOUNT, POD_IMAGE, POD_NODE } = process.env;
const lacks = [
  ...(MANIFEST === '' ? ['cluster of yours to try: make e2e-cluster MANIFEST=class.yaml'] : []),
  ...(await kubectlLacks()),
];

describeWhere(import.meta.filename, lacks)("a cluster of the user's own", () => {
  test('serves the class of the manifest to its own pods, and to nobody else', async () => {
    const kube = await connectByKubectl(KUBECONFIG);
    try {
      await tryCluster({
        ...{
          kube,
          manifest: await readFile(MANIFEST, 'utf8'),
          image: POD_IMAGE === undefined || POD_IMAGE === '' ? 'registry.k8s.io/pause:3.10' : POD_IMAGE,
          patienceMs: 180_000,
        },
        ...(SERVICE_ACCOUNT && { serviceAccount: SERVICE_ACCOUNT }),
        ...(POD_NODE && { node: POD_NODE }),
        say: (line) => void process.stderr.write(`${line}\n`),
      });
    } finally {
      await kube.close();
    }
  }, 900_000);
});
