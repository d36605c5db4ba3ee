import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { createRateLimiterMetrics } from '../../src/concurrency/rate-limiter.ts';
import type { Provider } from '../../src/core/provider.ts';
import { Redacted } from '../../src/core/redacted.ts';
import type { Parameters, Workload } from '../../src/core/workload.ts';
import type { Settings } from '../../src/config/settings.ts';
import { createHttpClient } from '../../src/http/client.ts';
import { createKubeApi } from '../../src/kube/api.ts';
import { ServiceAccounts } from '../../src/kube/service-accounts.ts';
import { addVersion } from '../../src/providers/local/store/history.ts';
import { StoreWriter } from '../../src/providers/local/store/writer.ts';
import { providers } from '../../src/providers/registry.ts';
import { createFingerprint } from '../../src/providers/shared/identity/fingerprint.ts';
import { SharedIdentity } from '../../src/providers/shared/identity/shared-identity.ts';
import { startAlibabaFixture } from '../fakes/alibabacloud-fixture.ts';
import { startAwsFixture } from '../fakes/aws-fixture.ts';
import { objectYaml, startCceFixture } from '../fakes/cce-fixture.ts';
import type { FakeResponse, FakeServer } from '../fakes/http-server.ts';
import { startFakeKubernetes } from '../fakes/kubernetes.ts';
import { startVaultFixture } from '../fakes/vault-fixture.ts';

/** One provider, made by the registry, in front of a store that can misbehave. */
export type ConformanceEnvironment = {
  readonly provider: Provider;
  /** May read every secret that the store has. */
  readonly workload: Workload;
  /** May read nothing. */
  readonly stranger: Workload;
  /** The parameters of a class with these secrets; `fields` are further fields of each object. */
  parameters(names: readonly string[], fields?: string): Parameters;
  put(name: string, value: string): Promise<void>;
  /** Absent for `local`, which reads a file. */
  readonly remote?: {
    /** The server that the reads go to. */
    readonly server: FakeServer;
    /** Matches the route of every read. */
    readonly reads: RegExp;
    /** The store denies this secret from now on. Absent where only a whole policy can. */
    readonly deny: (name: string) => void;
    /** The body of a throttled response in the store's form. */
    readonly throttled: FakeResponse;
    /** How often a call waited for the rate limiter. */
    readonly limiterWaits: () => Promise<number>;
  };
  /** Tokens and keys that no error may contain. */
  readonly secrets: readonly string[];
  stop(): Promise<void>;
};

/**
 * The environments by provider name. The suite fails if the registry has a provider without one.
 */
export const environments: Readonly<Record<string, () => Promise<ConformanceEnvironment>>> = {
  cce: startCce,
  aws: startAws,
  alibabacloud: startAlibabaCloud,
  vault: () => startVault('vault'),
  openbao: () => startVault('openbao'),
  local: startLocal,
};

type ProviderOptions = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly caFile?: string;
  readonly kubernetes: Awaited<ReturnType<typeof startFakeKubernetes>>;
  readonly settings?: Partial<Settings>;
};

/** Makes a provider the way a process does: by the registry. */
async function createProvider(name: string, options: ProviderOptions) {
  const { env, caFile, kubernetes, settings = {} } = options;
  const directory = mkdtempSync(join(tmpdir(), 'keyferry-conformance-'));
  const grantsFile = join(directory, 'grants.yaml');
  const grant = { provider: name, namespaces: ['team-a'], serviceAccounts: ['app'] };
  const grants = name === 'cce' ? [] : [{ ...grant, names: ['**'] }];
  writeFileSync(grantsFile, JSON.stringify({ grants }));
  const http = createHttpClient(caFile === undefined ? {} : { ca: [readFileSync(caFile, 'utf8')] });
  const kubeApi = createKubeApi({ http, ...kubernetes });
  const registry = new Registry();
  const log = pino({ level: 'silent' });
  const now = Date.now;
  const rateLimiterMetrics = createRateLimiterMetrics(registry);
  const provider = await providers[name]!.create({
    ...{ env, http, log, now, kubeApi, rateLimiterMetrics, retryBaseMs: 1 },
    fingerprint: createFingerprint(),
    serviceAccounts: new ServiceAccounts({ api: kubeApi, now }),
    sharedIdentity: new SharedIdentity({ mode: 'granted', grantsFile, log, now }),
    settings: settings as Settings,
  });
  return {
    provider,
    async limiterWaits(): Promise<number> {
      const { values } = await rateLimiterMetrics.wait.get();
      const counts = values.filter(({ metricName }) => metricName?.endsWith('_count') === true);
      return counts.reduce((sum, { value }) => sum + value, 0);
    },
    async stop(): Promise<void> {
      await provider.close?.(AbortSignal.timeout(1_000));
      await http.close();
      rmSync(directory, { recursive: true });
    },
  };
}

function createWorkload(
  account: string,
  tokens: Readonly<Record<string, string>> = {},
  secrets: Readonly<Record<string, string>> = {},
): Workload {
  const redacted = (text: string): Redacted => new Redacted(text);
  return {
    tenant: 'team-a',
    identity: { name: account },
    instance: 'uid-pod-1',
    pod: { name: 'pod-1', uid: 'uid-pod-1' },
    volume: 'uid-pod-1/volume',
    tokens: new Map(
      Object.entries(tokens).map(([audience, token]) => [audience, { token: redacted(token) }]),
    ),
    secrets: new Map(Object.entries(secrets).map(([name, text]) => [name, redacted(text)])),
  };
}

const objectList = (names: readonly string[], fields = ''): string =>
  names.map((name) => `- {objectName: "${name}"${fields && `, ${fields}`}}`).join('\n');

async function startCce(): Promise<ConformanceEnvironment> {
  const fixture = await startCceFixture();
  const { csms, keys } = fixture;
  const { provider, limiterWaits, stop } = await createProvider('cce', fixture);
  fixture.annotate(['first', 'second', 'third', 'absent']);
  const errorBody = { error_code: 'APIGW.0308', error_msg: 'too many' };
  return {
    ...{ provider, workload: createWorkload('app'), stranger: createWorkload('other') },
    parameters: (names, fields) => ({
      objects: names.map((name) => objectYaml(name, 'latest', fields)).join(''),
    }),
    put: async (name, value) => void csms.put(name, value),
    remote: {
      ...{ server: csms, reads: /^GET .*\/versions\//, limiterWaits },
      deny(name) {
        csms.denied.add(name);
      },
      throttled: { status: 429, body: errorBody },
    },
    secrets: [keys.access, keys.secret],
    async stop() {
      await stop();
      await fixture.close();
    },
  };
}

async function startAws(): Promise<ConformanceEnvironment> {
  const fixture = await startAwsFixture();
  const { secretsManager } = fixture;
  const { provider, limiterWaits, stop } = await createProvider('aws', fixture);
  const tokens = fixture.podTokens();
  return {
    ...{ provider, workload: createWorkload('app', tokens) },
    stranger: createWorkload('plain', fixture.podTokens({ account: 'plain' })),
    parameters: (names, fields = '') => ({
      region: 'eu-west-1',
      objects: objectList(names, `objectType: secretsmanager${fields && `, ${fields}`}`),
    }),
    put: async (name, value) => void secretsManager.put(name, value),
    remote: {
      ...{ server: secretsManager, reads: /^POST /, limiterWaits },
      deny(name) {
        secretsManager.denied.add(name);
      },
      throttled: {
        status: 400,
        headers: { 'content-type': 'application/x-amz-json-1.1' },
        body: JSON.stringify({ __type: 'ThrottlingException', message: 'Rate exceeded' }),
      },
    },
    secrets: Object.values(tokens),
    async stop() {
      await stop();
      await fixture.close();
    },
  };
}

async function startAlibabaCloud(): Promise<ConformanceEnvironment> {
  const fixture = await startAlibabaFixture();
  const { kms } = fixture;
  const { provider, limiterWaits, stop } = await createProvider('alibabacloud', fixture);
  const { accessKeyId, accessKeySecret } = fixture.account.issueKeys();
  const podKeys = { access_key: accessKeyId, access_secret: accessKeySecret };
  return {
    ...{ provider, workload: createWorkload('app', {}, podKeys) },
    stranger: createWorkload('plain'),
    parameters: (names, fields) => ({
      region: 'cn-hangzhou',
      objects: objectList(names, fields),
    }),
    put: async (name, value) => void kms.put(name, value),
    remote: {
      ...{ server: kms, reads: /^POST /, limiterWaits },
      deny(name) {
        kms.denied.add(name);
      },
      throttled: { status: 400, body: { Code: 'Throttling.User', Message: 'too many' } },
    },
    secrets: [accessKeyId, accessKeySecret],
    async stop() {
      await stop();
      await fixture.close();
    },
  };
}

async function startVault(dialect: 'vault' | 'openbao'): Promise<ConformanceEnvironment> {
  const fixture = await startVaultFixture({ dialect });
  const { provider, limiterWaits, stop } = await createProvider(dialect, fixture);
  const paths = ['first', 'second', 'third', 'absent'].map((name) => `secret/data/${name}`);
  const policy = (allowed: readonly string[]): void =>
    fixture.policy('app', Object.fromEntries(allowed.map((path) => [path, ['read']])));
  policy(paths);
  fixture.auth.kubernetes().role('app', { names: ['app'], audience: dialect });
  const kv = fixture.kv2();
  const tokens = fixture.podToken({ serviceAccount: 'app', podUid: 'uid-pod-1' });
  return {
    ...{ provider, workload: createWorkload('app', tokens), stranger: createWorkload('other') },
    parameters: (names) => ({
      roleName: 'app',
      objects: names
        .map((name) => `- {objectName: "${name}", secretPath: "secret/data/${name}"}`)
        .join('\n'),
    }),
    put: async (name, value) => kv.put(name, JSON.stringify({ value })),
    remote: {
      ...{ server: fixture.nodes[0]!, reads: /^GET \/v1\/secret\//, limiterWaits },
      deny: (name) => policy(paths.filter((path) => path !== `secret/data/${name}`)),
      throttled: { status: 429, body: { errors: ['request path rate limit quota exceeded'] } },
    },
    secrets: Object.values(tokens),
    async stop() {
      await stop();
      await fixture.close();
    },
  };
}

async function startLocal(): Promise<ConformanceEnvironment> {
  const directory = mkdtempSync(join(tmpdir(), 'keyferry-local-'));
  const files = { storeFile: join(directory, 'store.age'), keyFile: join(directory, 'store.key') };
  const writer = new StoreWriter(files);
  await writer.init();
  const kubernetes = await startFakeKubernetes({});
  const settings = { localStore: files.storeFile, localKey: files.keyFile };
  const { provider, stop } = await createProvider('local', { env: {}, kubernetes, settings });
  return {
    ...{ provider, workload: createWorkload('app'), stranger: createWorkload('other') },
    parameters: (names, fields) => ({ objects: objectList(names, fields) }),
    async put(name, value) {
      await writer.change((document) =>
        addVersion(document, name, Buffer.from(value), new Date().toISOString()),
      );
    },
    secrets: [readFileSync(files.keyFile, 'utf8').trim()],
    async stop() {
      await stop();
      await kubernetes.close();
      rmSync(directory, { recursive: true });
    },
  };
}
