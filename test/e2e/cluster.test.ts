import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseObjects, type KubeObject } from '../driver/kube-client.ts';
import {
  buildApiServer,
  missingControlPlaneDependencies,
} from '../servers/control-plane/control-plane.ts';
import { buildTestVault } from '../servers/testvault/testvault.ts';
import { programInPath } from '../servers/go-program.ts';
import { missingChartDependencies, renderChart } from './chart-objects.ts';
import { audiences, cloudAnnotations } from './clouds.ts';
import { keyferryUser, permissionsOf, withoutResource } from './cluster.ts';
import {
  eventually,
  generations,
  startTestEnvironment,
  type TestEnvironment,
} from './test-environment.ts';
import { describeIfAvailable } from '../if-available.ts';

const missingDependencies = [
  ...(await missingControlPlaneDependencies()),
  ...(await missingChartDependencies()),
];
const describe = describeIfAvailable(import.meta.filename, missingDependencies);

const providers = ['alibabacloud', 'aws', 'cce', 'local', 'openbao', 'vault'];

const examples = join(import.meta.dirname, '../../deploy/examples');

let environment: TestEnvironment;
/** All rights that the chart gives Keyferry. */
let rbac: readonly KubeObject[];

type Status = KubeObject & {
  readonly status: {
    readonly mounted: boolean;
    readonly objects: readonly { readonly id: string; readonly version: string }[];
  };
};
type Secret = KubeObject & { readonly data: Readonly<Record<string, string>> };
type Phase = KubeObject & { readonly status: { readonly phase: string } };

function base64(plain: string): string {
  return Buffer.from(plain).toString('base64');
}

if (missingDependencies.length === 0) {
  // The first build takes minutes.
  beforeAll(() => buildApiServer(), 1_200_000);
  beforeAll(() => buildTestVault(), 1_200_000);
  beforeAll(async () => {
    rbac = await renderChart({ providers, events: { enabled: true } });
    environment = await startTestEnvironment({ providers, args: ['--events', 'on'] });
    await environment.cluster.grant(rbac);
  }, 120_000);
  // A failed test must not affect the next one: restores what it removed, and removes what it left.
  afterEach(async () => {
    const { cluster } = environment;
    await cluster.setAudiences(audiences);
    await cluster.grant(rbac);
    for (const { metadata } of await cluster.kube.list('/api/v1/pods'))
      await cluster.deletePod(metadata.namespace ?? '', metadata.name);
  });
  afterAll(() => environment.stop());
}

describe.each(generations)('under a driver of %s', (generation) => {
  test.each(providers)(
    '%s: kubectl shows files, statuses and Secrets, and a rotation updates them',
    async (provider) => {
      const { cluster, node } = environment;
      const store = environment.stores.find((one) => one.provider === provider)!;
      const name = `${provider}-${generation.replace('.', '-')}`;
      await store.put(name, 'CANARY-one');
      await environment.allowSecrets(name);
      await environment.applyClass(name, store, store.parameters(name), { synced: true });
      const view = await environment.startPod(generation, { name, class: name });
      expect({ events: view.events, text: view.files.password?.text }).toEqual({
        events: [],
        text: 'CANARY-one',
      });

      const statusName = `${name}-team-a-${name}`;
      const status = (): Promise<Status | undefined> =>
        cluster.findObject('team-a', 'secretproviderclasspodstatuses', statusName);
      const secret = (): Promise<Secret | undefined> =>
        cluster.findObject('team-a', 'secrets', name);
      await eventually(status, (found) =>
        expect(found).toMatchObject({
          metadata: { ownerReferences: [{ kind: 'Pod', name }] },
          status: {
            mounted: true,
            objects: expect.arrayContaining([{ id: 'password', version: expect.any(String) }]),
          },
        }),
      );
      await eventually(secret, (found) =>
        expect(found?.data).toEqual({ value: base64('CANARY-one') }),
      );
      await eventually(
        () => cluster.findObject<Phase>('team-a', 'pods', name),
        (pod) => expect(pod?.status.phase).toBe('Running'),
      );
      const before = (await status())!.status.objects;

      await node(generation).republishAll();
      expect((await status())!.status.objects).toEqual(before);

      await store.put(name, 'CANARY-two');
      await node(generation).republishAll();
      expect(node(generation).volumes(`team-a/${name}`)[0]!.files.password?.text).toBe(
        'CANARY-two',
      );
      expect((await status())!.status.objects).not.toEqual(before);
      expect(await secret()).toMatchObject({
        metadata: {
          ownerReferences: [{ kind: 'Pod', name }],
          labels: { 'secrets-store.csi.k8s.io/managed': 'true' },
        },
        data: { value: base64('CANARY-two') },
      });

      await cluster.deletePod('team-a', name);
      await eventually(status, (found) => expect(found).toBeUndefined());
      await eventually(secret, (found) => expect(found).toBeUndefined());
    },
  );
});

/** The last line that `kubectl describe pod` shows. */
async function lastEvent(pod: string): Promise<string> {
  const events = await environment.cluster.events('team-a', pod);
  return events.at(-1) ?? '';
}

describe('diagnostics for users', () => {
  test('kubectl lists the objects of a pod, and describes why another one waits', async () => {
    const kubectl = await programInPath('kubectl');
    if (kubectl === undefined)
      return void process.stderr.write('\nSKIPPED: this machine has no kubectl\n');
    const { cluster, applyClass, stores, startPod, local } = environment;
    await local('{"password":"CANARY"}', 'set', 'shown');
    const store = stores.find(({ provider }) => provider === 'local')!;
    await applyClass('shown', store, store.parameters('shown'));
    await applyClass('missing', store, store.parameters('does-not-exist'));
    await startPod('1.6', { name: 'shown', class: 'shown' });
    await startPod('1.6', { name: 'missing', class: 'missing' });
    const runKubectl = async (...args: string[]): Promise<string> => {
      const flags = ['--kubeconfig', cluster.controlPlane.kubeconfig, '--namespace', 'team-a'];
      return (await promisify(execFile)(kubectl, [...flags, ...args])).stdout;
    };
    const columns = '-o=custom-columns=POD:.status.podName,FILES:.status.objects[*].id';
    await eventually(
      () => runKubectl('get', 'secretproviderclasspodstatuses', columns),
      (table) => expect(table).toMatch(/shown +password\n/),
    );
    await eventually(
      () => runKubectl('describe', 'pod', 'missing'),
      (text) => expect(text).toMatch(/FailedMount.*code = NotFound.*does-not-exist/),
    );
    for (const name of ['shown', 'missing']) await cluster.deletePod('team-a', name);
  });

  test('an Event on the pod and a metric report that its files can no longer be refreshed', async () => {
    const { cluster, clouds, stores, node, metric } = environment;
    const store = stores.find(({ provider }) => provider === 'alibabacloud')!;
    await store.put('silent', 'CANARY');
    await environment.applyClass('silent', store, store.parameters('silent'));
    await environment.startPod('1.6', { name: 'silent', class: 'silent' });
    const staleSeconds = (): Promise<number | undefined> =>
      metric('keyferry_stale_seconds{namespace="team-a",class="silent"}');
    expect(await staleSeconds()).toBeUndefined();

    clouds.alibaba.kms.delete('silent');
    for (let round = 0; round < 3; round += 1) await node('1.6').republishAll();
    expect(node('1.6').volumes('team-a/silent')[0]!.files.password?.text).toBe('CANARY');
    expect(await staleSeconds()).toBeGreaterThan(0);
    const staleEvents = async (): Promise<readonly string[]> =>
      (await cluster.events('team-a', 'silent')).filter((line) =>
        line.startsWith('SecretsNotRefreshed'),
      );
    await eventually(staleEvents, (lines) => expect(lines).toHaveLength(1));
    expect((await staleEvents())[0]).toContain('KMS secret silent');

    await store.put('silent', 'CANARY-again');
    await node('1.6').republishAll();
    expect(await staleSeconds()).toBeUndefined();
    await cluster.deletePod('team-a', 'silent');
  });
});

describe('authorization', () => {
  test('follows the ServiceAccount while pods run: granted, revoked and granted again', async () => {
    const { cluster, stores, node, allowSecrets, startPod, applyClass } = environment;
    const store = stores.find(({ provider }) => provider === 'cce')!;
    await store.put('db', 'CANARY');
    await applyClass('db', store, store.parameters('db'));
    await allowSecrets('something-else');
    await startPod('1.6', { name: 'early', class: 'db' });
    expect(node('1.6').volumes('team-a/early')[0]!.phase).toBe('Pending');
    await eventually(
      () => lastEvent('early'),
      (line) =>
        expect(line).toMatch(
          /PermissionDenied desc = .*team-a\/app may not use db: .*annotate it with/,
        ),
    );

    await allowSecrets('something-else', 'db');
    const early = await node('1.6').until('team-a/early', ({ phase }) => phase === 'Running');
    expect(early.files.password?.text).toBe('CANARY');

    await allowSecrets();
    await startPod('1.5', { name: 'late', class: 'db' });
    expect(node('1.5').volumes('team-a/late')[0]!.phase).toBe('Pending');
    expect(node('1.6').volumes('team-a/early')[0]!.phase).toBe('Running');
    await allowSecrets('db');
    await node('1.5').until('team-a/late', ({ phase }) => phase === 'Running');
    for (const name of ['early', 'late']) await cluster.deletePod('team-a', name);
  });

  test('ends with the ServiceAccount: a new one of the same name is another identity', async () => {
    const { cluster, clouds, stores, startPod, applyClass } = environment;
    const store = stores.find(({ provider }) => provider === 'alibabacloud')!;
    await store.put('life', 'CANARY');
    await applyClass('life', store, store.parameters('life'));
    await startPod('1.6', { name: 'before', class: 'life' });
    const sessions = clouds.alibaba.sts.sessions.length;
    await cluster.kube.delete('/api/v1/namespaces/team-a/serviceaccounts/app');
    await environment.allowSecrets();
    expect((await startPod('1.6', { name: 'after', class: 'life' })).files.password?.text).toBe(
      'CANARY',
    );
    expect(clouds.alibaba.sts.sessions.length).toBeGreaterThan(sessions);
    for (const name of ['before', 'after']) await cluster.deletePod('team-a', name);
  });

  test.each(['alibabacloud', 'aws', 'cce', 'openbao', 'vault'])(
    '%s: the token of another account is rejected, with any annotation',
    async (provider) => {
      const { cluster, stores, applyClass, startPod, node } = environment;
      const store = stores.find((one) => one.provider === provider)!;
      await store.put('ours', 'CANARY');
      await applyClass('ours', store, store.parameters('ours'), { namespace: 'team-b' });
      await cluster.applyServiceAccount('team-b/app', {
        ...cloudAnnotations,
        'cce.io/dew-resource': '["ours"]',
      });
      const name = `thief-${provider}`;
      await startPod('1.6', { namespace: 'team-b', name, class: 'ours' });
      const [view] = node('1.6').volumes(`team-b/${name}`);
      expect(view).toMatchObject({ phase: 'Pending', trapped: false, files: {} });
      expect(view!.events.at(-1)!.message).toMatch(/code = (PermissionDenied|Unauthenticated)/);
      await cluster.deletePod('team-b', name);
    },
  );

  test.each(['alibabacloud', 'aws', 'cce', 'vault'])(
    '%s: a token that the cluster has not signed is rejected',
    async (provider) => {
      const { cluster, stores, applyClass, startPod, node } = environment;
      const store = stores.find((one) => one.provider === provider)!;
      const name = `forged-${provider}`;
      await environment.allowSecrets(name);
      await store.put(name, 'CANARY');
      await applyClass(name, store, store.parameters(name));
      // A driver without tokenRequests lets pods write their own tokens.
      await cluster.setAudiences([]);
      const part = (value: object): string =>
        Buffer.from(JSON.stringify(value)).toString('base64url');
      const claims = {
        ...{ iss: cluster.controlPlane.issuer, sub: 'system:serviceaccount:team-a:app', exp: 4e9 },
        ...{
          aud: audiences,
          'kubernetes.io': { namespace: 'team-a', pod: { name, uid: 'forged' } },
        },
      };
      const [keys] = (await cluster.kube.get<{ keys: { kid: string }[] }>('/openid/v1/jwks')).keys;
      const token = `${part({ alg: 'RS256', kid: keys?.kid })}.${part(claims)}.${'A'.repeat(342)}`;
      const tokenEntries = audiences.map((audience) => [audience, { token }]);
      await startPod('1.6', {
        ...{ name, class: name },
        attributes: {
          'csi.storage.k8s.io/serviceAccount.tokens': JSON.stringify(
            Object.fromEntries(tokenEntries),
          ),
        },
      });
      const [view] = node('1.6').volumes(`team-a/${name}`);
      expect(view).toMatchObject({ phase: 'Pending', trapped: false, files: {} });
      expect(view!.events.at(-1)!.message).toMatch(/code = (PermissionDenied|Unauthenticated)/);
      await cluster.deletePod('team-a', name);
    },
  );

  test('a token for another audience is rejected by the driver, by Keyferry and by each cloud', async () => {
    const { cluster, stores, applyClass, startPod, node } = environment;
    const store = stores.find(({ provider }) => provider === 'cce')!;
    await environment.allowSecrets('aud');
    await store.put('aud', 'CANARY');
    await applyClass('aud', store, store.parameters('aud'));
    await cluster.setAudiences(['vault']);
    await startPod('1.6', { name: 'unheard', class: 'aud' });
    await eventually(
      () => lastEvent('unheard'),
      (line) =>
        expect(line).toMatch(
          /sent no token for the audience sts\.huaweicloud\.com, only for vault/,
        ),
    );
    // The class names the audience that the driver sends. The agency of Huawei Cloud does not trust
    // such a token.
    await applyClass('aud', store, { ...store.parameters('aud'), audience: 'vault' });
    await startPod('1.6', { name: 'untrusted', class: 'aud' });
    const [untrusted] = node('1.6').volumes('team-a/untrusted');
    expect(untrusted).toMatchObject({ phase: 'Pending', files: {} });
    expect(untrusted!.events.at(-1)!.message).toContain('STS.0403');
    for (const name of ['unheard', 'untrusted']) await cluster.deletePod('team-a', name);
  });
});

describe('the examples of deploy/', () => {
  const login = { username: 'CANARY-user', password: 'CANARY-password' };
  /** Puts the secrets that the example reads into its store. */
  const prepareStore: Readonly<Record<string, () => unknown>> = {
    alibabacloud() {
      environment.clouds.alibaba.kms.put('eu/prod/db', JSON.stringify(login));
      environment.clouds.alibaba.oos.put('app/banner', 'hello');
    },
    aws() {
      environment.clouds.aws.secretsManager.put('shop/db', JSON.stringify(login));
      environment.clouds.aws.ssm.put('/shop/banner', 'hello');
    },
    cce() {
      environment.clouds.cce.csms.put('db_login', JSON.stringify(login));
      environment.clouds.cce.csms.put('banner', 'hello');
    },
    async local() {
      await environment.local(JSON.stringify(login), 'set', 'shop/db');
      await environment.local('hello', 'set', 'shop/banner');
    },
    openbao: () => prepareVault('openbao'),
    vault: () => prepareVault('vault'),
  };

  async function prepareVault(audience: string): Promise<void> {
    await environment.vault.createLoginRole({
      name: 'web',
      namespace: 'shop',
      account: 'web',
      audience,
    });
    await environment.vault.put('shop/db', login);
    await environment.vault.put('shop/banner', { text: 'hello' });
  }

  test.each(providers)(
    '%s: its pod has the files and the Secret of the class',
    async (provider) => {
      const { cluster, node } = environment;
      await prepareStore[provider]?.();
      const objects = parseObjects(await readFile(join(examples, provider, 'web.yaml'), 'utf8'));
      type Deployment = KubeObject & {
        readonly spec: { readonly template: { readonly spec: object } };
      };
      const deployment = objects.find(({ kind }) => kind === 'Deployment') as Deployment;
      const applied = await cluster.kube.apply(objects);
      // No controller here creates pods for Deployments.
      await cluster.kube.post('/api/v1/namespaces/shop/pods', {
        ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: provider } },
        spec: { ...deployment.spec.template.spec, nodeName: 'node-1.6' },
      });
      const view = await node('1.6').until(`shop/${provider}`, ({ last }) => last !== 'skipped');
      expect(view.events).toEqual([]);
      const texts = Object.entries(view.files).map(([path, { text }]) => [path, text]);
      expect(Object.fromEntries(texts)).toMatchObject({
        ...{ 'db-user': login.username, 'db-password': login.password, 'banner.txt': 'hello' },
      });
      await eventually(
        () => cluster.findObject<Secret>('shop', 'secrets', 'web-db'),
        (secret) =>
          expect(secret?.data).toEqual({
            ...{ username: base64(login.username), password: base64(login.password) },
          }),
      );
      await cluster.deletePod('shop', provider);
      await eventually(
        () => cluster.findObject('shop', 'secrets', 'web-db'),
        (secret) => expect(secret).toBeUndefined(),
      );
      for (const object of applied.filter(({ kind }) => kind !== 'Namespace'))
        await cluster.kube.delete(await cluster.kube.pathOf(object));
    },
  );
});

describe("the chart's rights", () => {
  test.each([
    ['get', '', 'secrets'],
    ['list', '', 'serviceaccounts'],
    ['watch', '', 'serviceaccounts'],
    ['update', '', 'serviceaccounts'],
    ['create', '', 'serviceaccounts/token'],
    ['list', '', 'nodes'],
    ['get', '', 'pods'],
    ['list', '', 'pods'],
    ['get', '', 'configmaps'],
    ['list', '', 'events'],
    ['patch', '', 'events'],
    ['get', 'secrets-store.csi.x-k8s.io', 'secretproviderclasses'],
    ['create', 'rbac.authorization.k8s.io', 'clusterrolebindings'],
    ['impersonate', '', 'serviceaccounts'],
    ['*', '*', '*'],
  ])('do not hold %s %s %s', async (verb, group, resource) => {
    expect(await environment.cluster.isAllowed(`${verb} ${group} ${resource}`)).toBe(false);
  });

  test.each([
    {
      missing: 'serviceaccounts',
      provider: 'cce',
      pattern:
        /Keyferry may not read ServiceAccount team-a\/app: .*cannot get resource "serviceaccounts".*give its ClusterRole the verb get/,
    },
    {
      missing: 'nodes',
      provider: 'aws',
      pattern:
        /Keyferry may not read the node node: .*cannot get resource "nodes".*give its ClusterRole the verb get/,
    },
  ])(
    'without $missing a pod of $provider waits, and its event names the missing right',
    async ({ missing, provider, pattern }) => {
      const { cluster, stores, applyClass, node, allowSecrets } = environment;
      const store = stores.find((one) => one.provider === provider)!;
      const name = `without-${missing}`;
      await store.put(name, 'CANARY');
      await allowSecrets(name);
      await applyClass(name, store, store.parameters(name));
      const otherInstallation = await environment.startInstallation('beside');
      await cluster.grant(withoutResource(rbac, missing));
      await otherInstallation.startPod('1.6', { name, class: name });
      await eventually(
        () => lastEvent(name),
        (line) => expect(line).toMatch(pattern),
      );
      await cluster.grant(rbac);
      await otherInstallation
        .node('1.6')
        .until(`team-a/${name}`, ({ phase }) => phase === 'Running');
      await cluster.deletePod('team-a', name);
      await otherInstallation.stop();
      expect(node('1.6').volumes(`team-a/${name}`)).toEqual([]);
    },
  );

  test('without the right to create events the pod has no event, and the log has the reason', async () => {
    const { cluster, clouds, stores, keyferry, node } = environment;
    const store = stores.find(({ provider }) => provider === 'alibabacloud')!;
    await store.put('untold', 'CANARY');
    await environment.applyClass('untold', store, store.parameters('untold'));
    await environment.startPod('1.6', { name: 'untold', class: 'untold' });
    await cluster.grant(withoutResource(rbac, 'events'));
    clouds.alibaba.kms.delete('untold');
    await node('1.6').republishAll();
    const line = await keyferry.waitForLog(({ msg }) => msg === 'no event could be written');
    expect(line).toMatchObject({ namespace: 'team-a', pod: 'untold' });
    expect(line.reason).toMatch(/events is forbidden: .*cannot create resource "events"/);
    await cluster.deletePod('team-a', 'untold');
  });

  test('are all used, and Keyferry requested nothing beyond them', async () => {
    await environment.cluster.grant(rbac);
    expect(await auditedPermissions()).toEqual(permissionNames(rbac));
  });

  test('grow with the features that are switched on: token requests and the pod watch', async () => {
    const { cluster, stores } = environment;
    const store = stores.find(({ provider }) => provider === 'vault')!;
    await store.put('minted', 'CANARY');
    await environment.applyClass('minted', store, store.parameters('minted'));
    await cluster.setAudiences([]);
    const extendedRbac = await renderChart({
      ...{ providers, events: { enabled: true }, podWatch: { enabled: true } },
      vault: { mintTokens: true },
    });
    const installation = await environment.startInstallation('minting', {
      args: ['--pod-watch', 'on'],
      env: { KEYFERRY_VAULT_TOKEN_REQUESTS: 'true' },
    });
    await installation.startPod('1.6', { name: 'minted', class: 'minted' });
    await eventually(
      () => lastEvent('minted'),
      (line) => expect(line).toMatch(/cannot create resource "serviceaccounts\/token"/),
    );
    await cluster.grant(extendedRbac);
    const view = await installation
      .node('1.6')
      .until('team-a/minted', ({ phase }) => phase === 'Running');
    expect(view.files.password?.text).toBe('CANARY');
    await eventually(auditedPermissions, (rights) =>
      expect(rights).toEqual(permissionNames(extendedRbac)),
    );
    await cluster.deletePod('team-a', 'minted');
    await installation.stop();
  });
});

/** The requests of Keyferry to the API server so far: `verb resource`, sorted. */
async function auditedPermissions(): Promise<readonly string[]> {
  const lines = await environment.cluster.controlPlane.auditedRequests(keyferryUser);
  return [...new Set(lines.map((line) => line.split(' ').slice(0, 2).join(' ')))].sort();
}

function permissionNames(objects: readonly KubeObject[]): readonly string[] {
  return [...permissionsOf(objects)]
    .map((right) => right.replace(/^(\S+) \S* (\S+)$/, '$1 $2'))
    .sort();
}
