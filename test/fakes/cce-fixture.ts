import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Redacted } from '../../src/core/redacted.ts';
import { SecretError } from '../../src/core/errors.ts';
import { createHttpClient } from '../../src/http/client.ts';
import { createKubeApi } from '../../src/kube/api.ts';
import { ServiceAccounts } from '../../src/kube/service-accounts.ts';
import type { Workload } from '../../src/core/workload.ts';
import { createCceProvider } from '../../src/providers/cce/index.ts';
import { createFingerprint } from '../../src/providers/shared/identity/fingerprint.ts';
import type { FetchRequest, FetchResult } from '../../src/core/provider.ts';
import { startFakeCsms } from './huawei-csms.ts';
import { startFakeIam } from './huawei-iam.ts';
import { createHuaweiAccount } from './huawei-account.ts';
import { startFakeMetadata } from './huawei-metadata.ts';
import { startFakeSts, type Agency } from './huawei-sts.ts';
import { mintToken } from './service-account-token.ts';
import { startFakeKubernetes } from './kubernetes.ts';
import { createTestCa } from './tls.ts';
import { runSteps } from '../../src/core/steps.ts';

export const region = 'eu-west-101';
export const project = '0605767eb280d5762fd5c0133b3f4b6a';

/** An agency that trusts the ServiceAccount `app` of `team-a`. */
export const agency: Agency = {
  urn: 'iam::123:agency:app',
  providerUrn: 'iam::123:oidcProvider:cluster',
  subject: 'system:serviceaccount:team-a:app',
  audience: 'sts.huaweicloud.com',
};
/** A class whose pods log in as that agency. */
export const podClass = {
  objects: objectYaml('db_login'),
  usePodOIDC: 'true',
  agencyUrn: agency.urn,
  providerUrn: agency.providerUrn,
};

/** See {@link startCceFixture}. */
export type CceFixtureOptions = {
  /** The cluster's identity. Default `keys`. */
  readonly identity?: 'keys' | 'agency' | 'id-token';
  /** Configures no project id, so the provider looks it up. */
  readonly lookUpProject?: boolean;
  /** Gives the cluster's keys a security token. */
  readonly temporaryKeys?: boolean;
  readonly metadataTokens?: 'required' | 404 | 405 | 503;
  readonly agencies?: readonly Agency[];
  /** Which tokens of pods STS accepts; see {@link startFakeSts}. */
  readonly isIssued?: (token: string) => boolean;
  readonly sharedIdentities?: 'granted' | 'all' | 'none';
  /** Overrides the variables of the fixture. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The lifetime of the keys that the cluster's identity gets. */
  readonly keyLifetimeMs?: number;
  /** For a process that has its own clock. Default: time stands still, see `clock`. */
  readonly realTime?: boolean;
};

/** The pod of a request. */
export type PodOptions = {
  readonly namespace?: string;
  readonly account?: string;
  readonly pod?: string;
  readonly tokens?: Readonly<Record<string, string>>;
};

/**
 * Starts the provider `cce` with a fake cloud, over HTTPS. Time stands still, so that no test
 * depends on the load of the machine. A test moves it with `clock`.
 */
export async function startCceFixture(options: CceFixtureOptions = {}) {
  const { identity = 'keys', agencies = [], keyLifetimeMs, lookUpProject = false } = options;
  const clock = { node: 0, cloud: 0 };
  const startedAt = Date.now();
  let readings = 0;
  // No two readings are equal, as on a real machine: a read that begins later has a later time.
  const time = (): number =>
    options.realTime === true ? Date.now() : startedAt + (readings += 1) / 1_000;
  const now = (): number => time() + clock.node;
  const account = createHuaweiAccount({ now: () => time() + clock.cloud });
  account.projects.push({ id: project, name: region }, { id: 'another', name: 'eu-west-0' });
  const keys = account.issueKeys(options.temporaryKeys === true ? 3_600_000 : undefined);
  const ca = createTestCa();
  const tls = ca.issue();
  const directory = mkdtempSync(join(tmpdir(), 'keyferry-cce-'));
  const idToken = { current: 'the-first-id-token-of-the-cluster' };
  const tokenFile = join(directory, 'token');
  const writeToken = (token: string): void => {
    idToken.current = token;
    writeFileSync(tokenFile, `${token}\n`);
  };
  writeToken(idToken.current);

  const lifetimeOptions = keyLifetimeMs === undefined ? {} : { keyLifetimeMs };
  const csms = await startFakeCsms({ account, project, tls });
  const iam = await startFakeIam({
    account,
    idpId: 'cluster',
    idToken: () => idToken.current,
    ...lifetimeOptions,
    tls,
  });
  const sts = await startFakeSts({ account, agencies, now, isIssued: options.isIssued, tls });
  const metadata = await startFakeMetadata({
    account,
    tokens: options.metadataTokens ?? 'required',
    ...lifetimeOptions,
  });
  const http = createHttpClient({ ca: [ca.cert] });

  const kubernetes = await startFakeKubernetes({
    'team-a/app': {},
    'team-a/other': {},
    'team-b/app': {},
  });
  const api = createKubeApi({ http, ...kubernetes });
  const logged: string[] = [];
  /** The environment of a process that uses the fakes. */
  const env: Readonly<Record<string, string | undefined>> = {
    HUAWEICLOUD_SDK_REGION: region,
    HUAWEICLOUD_SDK_CSMS_ENDPOINT: csms.url.href,
    HUAWEICLOUD_SDK_IAM_ENDPOINT: iam.url.href,
    HUAWEICLOUD_SDK_STS_ENDPOINT: sts.url.href,
    HUAWEICLOUD_SDK_METADATA_ENDPOINT: metadata.url.href,
    ...(!lookUpProject && { HUAWEICLOUD_SDK_PROJECT_ID: project }),
    ...(identity === 'keys' && {
      HUAWEICLOUD_SDK_AK: keys.access,
      HUAWEICLOUD_SDK_SK: keys.secret,
      HUAWEICLOUD_SDK_SECURITY_TOKEN: keys.securitytoken,
    }),
    ...(identity === 'id-token' && {
      HUAWEICLOUD_SDK_IDP_ID: 'cluster',
      HUAWEICLOUD_SDK_ID_TOKEN_FILE: tokenFile,
    }),
    ...options.env,
  };
  const caFile = join(directory, 'ca.crt');
  writeFileSync(caFile, ca.cert);
  const provider = createCceProvider({
    env,
    http,
    serviceAccounts: new ServiceAccounts({ api, now }),
    fingerprint: createFingerprint(),
    sharedIdentity: { mode: options.sharedIdentities ?? 'granted' },
    now,
    log: pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) }),
    retryBaseMs: 1,
  });

  function workload({
    namespace = 'team-a',
    account: name = 'app',
    pod = 'pod-1',
    tokens = {},
  }: PodOptions): Workload {
    return {
      tenant: namespace,
      identity: { name },
      instance: pod,
      volume: pod,
      pod: { name: pod, uid: pod },
      tokens: new Map(
        Object.entries(tokens).map(([audience, text]) => [audience, { token: new Redacted(text) }]),
      ),
      secrets: new Map(),
    };
  }

  /** The requests that the cache makes. */
  async function fetchRequests(
    parameters: string | Record<string, string>,
    podOptions: PodOptions = {},
    requestOptions: Partial<Pick<FetchRequest, 'signal' | 'urgency' | 'onStart'>> = {},
  ) {
    const signal = requestOptions.signal ?? new AbortController().signal;
    const classParameters = typeof parameters === 'string' ? { objects: parameters } : parameters;
    const nodeFacts = await provider.nodeFacts(classParameters, {
      ...{ signal, run: async (steps) => runSteps(steps) },
    });
    const { plan, problems } = runSteps(provider.plan(classParameters, nodeFacts));
    if (plan === undefined)
      throw new Error(`no plan: ${problems.map(({ message }) => message).join('; ')}`);
    const grants = await provider.authorize(workload(podOptions), plan, {
      signal,
      notBefore: now(),
    });
    return grants.map((grant) => ({
      grant,
      urgency: 'first' as const,
      onStart: () => undefined,
      ...requestOptions,
      signal,
    }));
  }

  const fixture = {
    provider,
    env,
    /** The authority of the fakes' certificates. */
    caFile,
    account,
    keys,
    csms,
    iam,
    sts,
    metadata,
    clock,
    logged,
    kubernetes,
    now,
    writeToken,
    /**
     * Sets the annotation of a ServiceAccount: names of secrets, or a text. Undefined removes it.
     */
    annotate(
      value: readonly string[] | string | undefined,
      { namespace = 'team-a', account: name = 'app' }: PodOptions = {},
    ) {
      const key = `${namespace}/${name}`;
      const annotation = typeof value === 'object' ? JSON.stringify(value) : value;
      kubernetes.serviceAccounts.set(
        key,
        annotation === undefined ? {} : { annotations: { 'cce.io/dew-resource': annotation } },
      );
    },
    workload,
    fetchRequests: fetchRequests,
    /** The results of all objects. @throws what `authorize` throws */
    async fetch(...args: Parameters<typeof fetchRequests>): Promise<FetchResult[]> {
      return Promise.all(provider.fetch(await fetchRequests(...args)));
    },
    /**
     * One line per object: `name@version: text`, or `failed CODE: message; hint`. Or one line for
     * all: `refused CODE: message; hint`.
     */
    async read(...args: Parameters<typeof fetchRequests>): Promise<string[]> {
      try {
        const requests = await fetchRequests(...args);
        const results = await Promise.all(provider.fetch(requests));
        return results.map((result, index) =>
          result.kind === 'value'
            ? `${requests[index]!.grant.ref.name}@${result.value.version}: ${Buffer.from(result.value.bytes).toString()}`
            : result.kind === 'unchanged'
              ? 'unchanged'
              : `${result.kind} ${result.error.code}: ${result.error.summary}`,
        );
      } catch (error) {
        if (error instanceof SecretError) return [`refused ${error.code}: ${error.summary}`];
        throw error;
      }
    },
    podToken(
      audience = 'sts.huaweicloud.com',
      overrides: Partial<Parameters<typeof mintToken>[0]> = {},
    ) {
      const token = mintToken({
        namespace: 'team-a',
        serviceAccount: 'app',
        audience,
        expiresAt: now() + 3_600_000,
        ...overrides,
      });
      return { [audience]: token };
    },
    async close() {
      await http.close();
      await Promise.all([csms, iam, sts, metadata, kubernetes].map((server) => server.close()));
      rmSync(directory, { recursive: true });
    },
  };
  return fixture;
}

export type CceFixture = Awaited<ReturnType<typeof startCceFixture>>;

/** One object of a class. */
export function objectYaml(name: string, version = 'latest', extraFields = ''): string {
  return `- {objectName: "${name}", objectType: csms, objectVersion: ${version}${extraFields && `, ${extraFields}`}}\n`;
}
