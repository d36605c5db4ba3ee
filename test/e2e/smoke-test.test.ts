import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildMountRequest } from '../../src/cli/mount/request.ts';
import { DriverClient } from '../../src/csi/client.ts';
import { createKubeClient, type KubeClient } from '../driver/kube-client.ts';
import {
  buildApiServer,
  missingControlPlaneDependencies,
} from '../servers/control-plane/control-plane.ts';
import { buildTestVault } from '../servers/testvault/testvault.ts';
import { runSmokeTest, type SmokeTestOptions } from './smoke-test.ts';
import { audiences } from './clouds.ts';
import { connectWithKubectl, missingKubectlDependencies } from './kubectl-proxy.ts';
import { eventually, startTestEnvironment, type TestEnvironment } from './test-environment.ts';
import { describeIfAvailable } from '../if-available.ts';

const missingDependencies = [
  ...(await missingControlPlaneDependencies()),
  ...(await missingKubectlDependencies()),
];
const describe = describeIfAvailable(import.meta.filename, missingDependencies);
const project = join(import.meta.dirname, '../..');

let environment: TestEnvironment;
/** By kubectl, as a user. */
let kube: KubeClient;
let example: string;
const reported: string[] = [];

if (missingDependencies.length === 0) {
  beforeAll(() => buildApiServer(), 1_200_000);
  beforeAll(() => buildTestVault(), 1_200_000);
  beforeAll(async () => {
    environment = await startTestEnvironment({ providers: ['local', 'vault'] });
    ({ kube } = await connectWithKubectl({
      kubeconfig: environment.cluster.controlPlane.kubeconfig,
    }));
    example = await readFile(join(project, 'deploy/examples/local/web.yaml'), 'utf8');
    await environment.local('{"username":"u","password":"CANARY"}', 'set', 'shop/db');
    await environment.local('hello', 'set', 'shop/banner');
  }, 120_000);
  afterEach(() => void reported.splice(0));
  afterAll(async () => {
    await kube.close();
    await environment.stop();
  });
}

/**
 * The example in its own namespace. Without controllers, the deletion of a namespace never ends.
 */
function manifestIn(namespace: string): string {
  return example.replaceAll(/(namespace: |metadata: \{ name: )shop\b/g, `$1${namespace}`);
}

/** Its pod waits, because its account has no grants. */
function manifestWithoutGrant(namespace: string): string {
  return manifestIn(namespace).replaceAll(/\bweb$/gm, 'nobody');
}

function runTrial(namespace: string, more: Partial<SmokeTestOptions> = {}): Promise<void> {
  return runSmokeTest({
    ...{
      kube,
      manifest: manifestIn(namespace),
      image: 'pause',
      node: 'node-1.6',
      podTimeoutMs: 5_000,
    },
    ...{
      report: (line: string) => void reported.push(line),
      signal: new AbortController().signal,
      ...more,
    },
  });
}

/**
 * Writes the grants file, and waits until Keyferry uses it: it reads the file again at most once a
 * second, and only for a request. So this account without a grant of its own requests a volume.
 */
async function writeGrants(text: string, { stranger }: { stranger: string }): Promise<void> {
  await writeFile(join(environment.dir, 'grants'), text);
  const { providersDir } = environment.keyferry;
  const client = new DriverClient({ socketPath: join(providersDir, 'local.sock') });
  const request = buildMountRequest(
    { name: 'probe', parameters: { objects: '- objectName: shop/db' } },
    { namespace: 'probe', pod: 'probe', serviceAccount: 'stranger' },
  );
  await eventually(
    () => client.mount(request),
    ({ code }) => expect(code).toBe(stranger),
  );
  client.close();
}

/** Everything in the cluster that a trial makes, and every other thing of these kinds. */
async function listObjects(): Promise<readonly string[]> {
  const paths = [
    ...['/api/v1/pods', '/api/v1/serviceaccounts', '/api/v1/secrets', '/api/v1/configmaps'],
    '/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasses',
  ];
  const objects = (await Promise.all(paths.map((path) => kube.list(path)))).flat();
  return objects.map(({ metadata }) => `${metadata.namespace ?? ''}/${metadata.name}`).sort();
}

async function createNamespace(name: string): Promise<void> {
  await kube.apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }]);
}

describe('a working cluster', () => {
  test.each(['a new namespace', 'one that may be used'])(
    'passes in %s, and is unchanged afterwards',
    async (target) => {
      const namespace = target === 'a new namespace' ? 'trial-new' : 'trial-used';
      const isExisting = namespace === 'trial-used';
      if (isExisting) await createNamespace(namespace);
      const before = await listObjects();
      await runTrial(namespace, isExisting ? { useNamespace: namespace } : {});
      expect(reported).toEqual([
        expect.stringMatching(/^the driver sends tokens for: .*vault/),
        expect.stringMatching(/^keyferry-e2e has banner.txt in version v\d+$/),
        expect.stringMatching(/^keyferry-e2e has db-password in version v\d+\+/),
        expect.stringMatching(/^keyferry-e2e has db-user in version v\d+\+/),
        expect.stringMatching(/^keyferry-e2e-stranger has the event: FailedMount: .*no grant/),
      ]);
      await eventually(listObjects, (now) => expect(now).toEqual(before));
      const { metadata } = await kube.get(`/api/v1/namespaces/${namespace}`);
      expect(metadata.deletionTimestamp === undefined).toBe(isExisting);
    },
  );

  test('is tested by the command; ^C at any moment cleans up', async () => {
    const before = await listObjects();
    const manifest = join(environment.dir, 'stopped.yaml');
    await writeFile(manifest, manifestWithoutGrant('trial-stopped'));
    const settings = [`MANIFEST=${manifest}`, 'POD_NODE=node-1.6', 'POD_IMAGE=pause'];
    const kubeconfig = `KUBECONFIG=${environment.cluster.controlPlane.kubeconfig}`;
    const child = spawn(
      'make',
      ['--silent', '-C', project, 'e2e-cluster', kubeconfig, ...settings],
      {
        ...{ stdio: ['ignore', 'pipe', 'pipe'], detached: true },
      },
    );
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const ended = new Promise((resolve) => child.once('close', resolve));
    await eventually(
      () => Promise.resolve(output),
      (text) => expect(text).toContain('has the event: FailedMount'),
    );
    // As a terminal does: to all in the foreground.
    process.kill(-(child.pid ?? 0), 'SIGINT');
    expect(await ended).not.toBe(0);
    expect(output).toMatch(/^cluster: \S+ \(https:/m);
    expect(output).toMatch(
      /SIGINT: what was made is removed first\nFAILED: stopped before its end/,
    );
    await eventually(listObjects, (now) => expect(now).toEqual(before));
    expect(
      (await kube.get('/api/v1/namespaces/trial-stopped')).metadata.deletionTimestamp,
    ).toBeDefined();
  });
});

describe('changes no existing object', () => {
  test('rejects a namespace that exists unless it is named', async () => {
    await createNamespace('production');
    const before = await listObjects();
    await expect(runTrial('production')).rejects.toThrow(
      /^namespace production exists already, and the test does not change it: .*USE_NAMESPACE=production/,
    );
    await expect(runTrial('production', { useNamespace: 'another' })).rejects.toThrow(
      /exists already/,
    );
    expect(await listObjects()).toEqual(before);
  });

  test.each([
    ['ServiceAccount', 'web', /has serviceaccounts\/web already.*SERVICE_ACCOUNT=web/],
    [
      'Secret',
      'web-db',
      /has secrets\/web-db already, and the test changes no existing object: rename it/,
    ],
    ['Pod', 'keyferry-e2e', /has pods\/keyferry-e2e already/],
  ])('nor is a %s %s in it', async (kind, name, pattern) => {
    const namespace = `lived-in-${kind.toLowerCase()}`;
    await createNamespace(namespace);
    const spec = { containers: [{ name: 'theirs', image: 'theirs' }] };
    const theirs = {
      apiVersion: 'v1',
      kind,
      metadata: { name, namespace },
      ...(kind === 'Pod' && { spec }),
    };
    await environment.cluster.applyServiceAccount(`${namespace}/default`);
    const [created] = await kube.apply([theirs]);
    await expect(runTrial(namespace, { useNamespace: namespace })).rejects.toThrow(pattern);
    expect(await kube.get(await kube.pathOf(created!))).toEqual(created);
  });

  test('names the objects that an earlier run left, and how to remove them', async () => {
    const labels = { 'app.kubernetes.io/managed-by': 'keyferry-e2e' };
    await kube.apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'left', labels } }]);
    await expect(runTrial('left')).rejects.toThrow(
      /an earlier run was killed.*kubectl -n left delete .*-l app.kubernetes.io\/managed-by=keyferry-e2e/,
    );
    await kube.delete('/api/v1/namespaces/left');
    await expect(runTrial('left')).rejects.toThrow(/namespace left is being deleted: wait/);
  });
});

describe('keeps an object that another client creates meanwhile', () => {
  const account = '/api/v1/namespaces/trial-shared/serviceaccounts/web';

  test.each([
    [
      'in place of a created object',
      async () => kube.delete(account),
      /serviceaccounts\/web is not removed/,
    ],
    ['just before, and the response is lost', async () => undefined, undefined],
  ])('%s', async (_, before, message) => {
    await createNamespace('trial-shared');
    const disturbedKube = {
      ...kube,
      async request(...args: Parameters<KubeClient['request']>) {
        const [method, path, body] = args;
        const isCreation =
          method === 'POST' &&
          path.endsWith('/serviceaccounts') &&
          JSON.stringify(body).includes('"web"');
        const response =
          isCreation && message === undefined ? undefined : await kube.request(...args);
        if (!isCreation) return response!;
        await before();
        await kube.apply(
          [{ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'web' } }],
          {
            namespace: 'trial-shared',
          },
        );
        if (response === undefined) throw new Error('the line is dead');
        return response;
      },
    };
    const stop = new AbortController();
    const report = (line: string): void => {
      reported.push(line);
      if (line.startsWith('keyferry-e2e has')) stop.abort(new Error('enough'));
    };
    await expect(
      runTrial('trial-shared', {
        kube: disturbedKube,
        useNamespace: 'trial-shared',
        signal: stop.signal,
        report,
      }),
    ).rejects.toThrow(message === undefined ? 'the line is dead' : 'enough');
    expect((await kube.get(account)).metadata.labels).toBeUndefined();
    if (message !== undefined) expect(reported).toContainEqual(expect.stringMatching(message));
    await kube.delete(account);
  });
});

describe('reports a problem in one message and leaves nothing behind', () => {
  async function expectFailure(
    namespace: string,
    pattern: RegExp,
    more: Partial<SmokeTestOptions> = {},
  ): Promise<void> {
    const before = await listObjects();
    await expect(runTrial(namespace, more)).rejects.toThrow(pattern);
    await eventually(listObjects, (now) => expect(now).toEqual(before));
  }

  test.each([
    ['no class', '', /the manifest has 0 SecretProviderClasses/],
    [
      'an account elsewhere',
      'apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: far}',
      /ServiceAccount\/web is in another namespace than its class/,
    ],
  ])('a manifest with %s', async (_, text, pattern) => {
    await expectFailure('amiss', pattern, {
      manifest: text === '' ? '' : `${manifestIn('amiss')}\n---\n${text}`,
    });
  });

  test('a kubeconfig without that context, a missing kubeconfig, and a server that is down', async () => {
    const { kubeconfig } = environment.cluster.controlPlane;
    await expect(connectWithKubectl({ kubeconfig, context: 'prod' })).rejects.toThrow(
      /has no context prod, but: \S+; choose one by CONTEXT=/,
    );
    await expect(
      connectWithKubectl({ kubeconfig: join(environment.dir, 'missing') }),
    ).rejects.toThrow(/has no current context, but: none/);
    const away = join(environment.dir, 'away');
    await writeFile(
      away,
      (await readFile(kubeconfig, 'utf8')).replace(/https:\/\/[^"\s,}]+/, 'https://127.0.0.1:1'),
    );
    const unreachable = await connectWithKubectl({ kubeconfig: `${away}:${kubeconfig}` });
    const message = await runTrial('amiss', { kube: unreachable.kube }).catch(String);
    // First, for the proxy outlives this process.
    await unreachable.kube.close();
    expect(message).toMatch(
      /: the API server cannot be reached: 50\d .*connection refused; try kubectl version/,
    );
  });

  test('an image that cannot be pulled', async () => {
    const waiting = { reason: 'ImagePullBackOff', message: 'Back-off pulling image "pause"' };
    const status = {
      containerStatuses: [
        {
          name: 'app',
          ...{ image: 'pause', imageID: '', ready: false, restartCount: 0 },
          state: { waiting },
        },
      ],
    };
    const kubelet = eventually(
      () =>
        kube.request(
          'PATCH',
          '/api/v1/namespaces/trial-image/pods/keyferry-e2e/status',
          { status },
          'application/merge-patch+json',
        ),
      (response) => expect(response.status).toBe(200),
    );
    await expectFailure(
      'trial-image',
      /the image pause cannot be pulled: ImagePullBackOff: .*POD_IMAGE=/,
      {
        manifest: manifestWithoutGrant('trial-image'),
      },
    );
    await kubelet;
  });

  test('a pod that gets no files, with the text of its event', async () => {
    await expectFailure(
      'trial-waits',
      /pod keyferry-e2e is not as it should be.*it is Pending; FailedMount: .*no grant/,
      {
        ...{ manifest: manifestWithoutGrant('trial-waits'), podTimeoutMs: 2_000 },
      },
    );
  });

  test('an account that does not exist', async () => {
    await expectFailure(
      'trial-nobody',
      /namespace trial-nobody has no ServiceAccount builder: .*SERVICE_ACCOUNT=/,
      {
        ...{ serviceAccount: 'builder', podTimeoutMs: 500 },
      },
    );
  });

  test('a pod without events', async () => {
    await expectFailure(
      'trial-lonely',
      /no event has a reason: check that Keyferry and the driver run on its node/,
      {
        ...{ node: 'no-node', podTimeoutMs: 500 },
      },
    );
  });

  test('a driver that sends no tokens', async () => {
    const { vault, cluster } = environment;
    await vault.createLoginRole({
      name: 'web',
      namespace: 'trial-tokens',
      account: 'web',
      audience: 'vault',
    });
    await vault.put('shop/db', { username: 'u', password: 'CANARY' });
    const manifest = (
      await readFile(join(project, 'deploy/examples/vault/web.yaml'), 'utf8')
    ).replaceAll(/\bshop$|name: shop\b/gm, (found) => found.replace('shop', 'trial-tokens'));
    await cluster.setAudiences([]);
    await expectFailure('trial-tokens', /sent no token for the audience vault.*tokenRequests/, {
      manifest,
      podTimeoutMs: 2_000,
    });
    expect(reported[0]).toBe('the driver sends tokens for: no audience');
    await cluster.setAudiences(audiences);
  });

  test('a store that accepts every identity', async () => {
    const grants = await readFile(join(environment.dir, 'grants'), 'utf8');
    const open = grants.replace('"serviceAccounts":["app","web"]', '"serviceAccounts":["*"]');
    await writeGrants(open, { stranger: 'OK' });
    await expectFailure(
      'trial-open',
      /a pod of ServiceAccount keyferry-e2e-stranger.*got the files of class web: check sharedIdentities/,
    );
    await writeGrants(grants, { stranger: 'PERMISSION_DENIED' });
  });

  test('all missing rights in one message', async () => {
    await environment.cluster.applyServiceAccount('team-a/developer');
    const { status } = await kube.post<{ status: { token: string } }>(
      '/api/v1/namespaces/team-a/serviceaccounts/developer/token',
      { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
    );
    const { controlPlane } = environment.cluster;
    const server = { server: controlPlane.server, ca: await readFile(controlPlane.caFile, 'utf8') };
    const developer = createKubeClient({ ...server, token: status.token });
    const unknownUser = createKubeClient({ ...server, token: 'expired' });
    await expectFailure(
      'amiss',
      /may not see whether namespace amiss exists.*USE_NAMESPACE=amiss/,
      {
        kube: developer,
      },
    );
    await expectFailure(
      'amiss',
      /you may not create pods, get pods, delete pods, list events,.*in namespace amiss: request a role/,
      {
        ...{ kube: developer, useNamespace: 'amiss' },
      },
    );
    await expectFailure('amiss', /the API server rejects your credentials: 401/, {
      kube: unknownUser,
    });
    await Promise.all([developer.close(), unknownUser.close()]);
  });

  test('a cluster without the driver and its kinds', async () => {
    await kube.delete('/apis/storage.k8s.io/v1/csidrivers/secrets-store.csi.k8s.io');
    await expectFailure(
      'amiss',
      /the cluster has no CSIDriver secrets-store.csi.k8s.io, only its CRDs: install/,
    );
    const crds = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
    for (const { metadata } of await kube.list(crds)) await kube.delete(`${crds}/${metadata.name}`);
    await eventually(
      () => runTrial('amiss').catch((error: unknown) => String(error)),
      (text) =>
        expect(text).toMatch(
          /the cluster has no SecretProviderClasses: install the Secrets Store CSI driver 1.3/,
        ),
    );
  });
});
