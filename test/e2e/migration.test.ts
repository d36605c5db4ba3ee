import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { KubeObject } from '../driver/kube-client.ts';
import {
  buildApiServer,
  missingControlPlaneDependencies,
} from '../servers/control-plane/control-plane.ts';
import { programInPath } from '../servers/go-program.ts';
import { startCluster, type Cluster } from './cluster.ts';
import { eventually } from './test-environment.ts';
import { describeIfAvailable } from '../if-available.ts';

const missingDependencies = [...(await missingControlPlaneDependencies())];
for (const tool of ['kubectl', 'jq'])
  if ((await programInPath(tool)) === undefined) missingDependencies.push(tool);
const describe = describeIfAvailable(import.meta.filename, missingDependencies);

const policyFile = 'deploy/migration/keep-classes.yaml';
const kinds = ['secretproviderclasses', 'secretproviderclasspodstatuses'];
let cluster: Cluster;
let directory: string;

/** The first shell block of a section of a runbook. */
async function shellBlock(runbook: string, section: string): Promise<string> {
  const page = await readFile(`docs/migration/${runbook}.md`, 'utf8');
  const text = page.split(/^## /m).find((part) => part.replace(/^\d+\. /, '').startsWith(section));
  return /```sh\n(.*?)```/s.exec(text ?? '')?.[1] ?? '';
}

async function sh(script: string): Promise<string> {
  const env = { ...process.env, KUBECONFIG: cluster.controlPlane.kubeconfig };
  return (
    await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], { cwd: directory, env })
  ).stdout;
}

function classOf(name: string): KubeObject & { readonly spec: unknown } {
  const spec = {
    provider: 'cce',
    parameters: { objects: '- objectName: db\n  objectType: csms\n' },
  };
  return {
    ...{ apiVersion: 'secrets-store.csi.x-k8s.io/v1', kind: 'SecretProviderClass', spec },
    metadata: { name, namespace: 'shop', annotations: { team: 'web' } },
  };
}

if (missingDependencies.length === 0) {
  // The first build takes minutes.
  beforeAll(() => buildApiServer(), 1_200_000);
  beforeAll(async () => {
    cluster = await startCluster();
    directory = await mkdtemp(join(tmpdir(), 'kf-migration-'));
    await cluster.applyServiceAccount('shop/web');
    await cluster.setAudiences([]);
  }, 60_000);
  afterAll(async () => {
    await cluster.stop();
    await rm(directory, { recursive: true });
  });
}

describe('a migration', () => {
  test.each(['alibabacloud', 'aws', 'vault'])(
    'from %s is backed up and restored like that from cce',
    async (runbook) => {
      for (const section of [
        'Back up',
        'Restore, if they are gone',
        'Keep the classes',
        'Check the classes',
      ]) {
        const block = await shellBlock(runbook, section);
        expect(block).not.toBe('');
        expect(block).toBe(await shellBlock('cce', section));
      }
    },
  );

  test('loses no class while the policy exists, and restores the classes that are lost without it', async () => {
    const status = {
      ...{ apiVersion: 'secrets-store.csi.x-k8s.io/v1', kind: 'SecretProviderClassPodStatus' },
      metadata: { name: 'web-shop-web', namespace: 'shop' },
      status: { podName: 'web', mounted: true, objects: [{ id: 'db', version: 'v1' }] },
    };
    await cluster.kube.apply([classOf('web'), classOf('api'), status]);
    expect(await sh(await shellBlock('cce', 'Back up'))).toContain('"SecretProviderClass": 2');

    await sh(`kubectl apply -f ${process.cwd()}/${policyFile}`);
    const removal = `kubectl delete crd ${kinds.map((kind) => `${kind}.secrets-store.csi.x-k8s.io`).join(' ')}`;
    await eventually(
      () => sh(`${removal} --dry-run=server 2>&1 || true`),
      (text) => expect(text).toContain('a migration is under way'),
    );
    await expect(sh(removal)).rejects.toThrow('a migration is under way');
    expect(await sh('kubectl get secretproviderclasses -A --no-headers | wc -l')).toBe('2\n');

    await sh(`kubectl delete -f ${process.cwd()}/${policyFile}`);
    await eventually(
      () => sh(`${removal} --dry-run=server 2>&1 || true`),
      (text) => expect(text).toContain('deleted'),
    );
    await sh(removal);
    expect(await sh('kubectl get crd -o name')).not.toContain('secretproviderclass');

    await sh(await shellBlock('cce', 'Restore'));
    for (const name of ['web', 'api']) {
      const found = await cluster.findObject<ReturnType<typeof classOf>>(
        'shop',
        'secretproviderclasses',
        name,
      );
      expect(found).toMatchObject(classOf(name));
    }
    expect(
      await cluster.findObject('shop', 'secretproviderclasspodstatuses', 'web-shop-web'),
    ).toMatchObject(status);
  });
});
