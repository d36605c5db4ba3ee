import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { createRateLimiterMetrics } from '../../src/concurrency/rate-limiter.ts';
import { createKubeApi } from '../../src/kube/api.ts';
import type { SharedIdentityMode } from '../../src/core/provider.ts';
import { ServiceAccounts } from '../../src/kube/service-accounts.ts';
import { createAwsProvider } from '../../src/providers/aws/index.ts';
import type { Volume } from '../../src/mount/types.ts';
import { createFingerprint } from '../../src/providers/shared/identity/fingerprint.ts';
import { SharedIdentity } from '../../src/providers/shared/identity/shared-identity.ts';
import { awsRegion, startAwsCloud } from './aws-cloud.ts';
import { mintAwsToken } from './aws-sts.ts';
import { startFakeKubernetes } from './kubernetes.ts';
import { createMountPipeline, mountSummary, type TestPod } from './mount-pipeline.ts';

export const appRole = 'arn:aws:iam::111122223333:role/team/app';
/** A role that trusts another ServiceAccount of the cluster. */
export const otherRole = 'arn:aws:iam::444455556666:role/other';
/** The role of Keyferry itself. */
export const ownRole = 'arn:aws:iam::111122223333:role/keyferry';
export const nodeName = 'ip-10-0-0-1.eu-west-1.compute.internal';

/** The default content of the grants file. */
export const grantsForPlain = [
  {
    provider: 'aws',
    namespaces: ['team-a'],
    serviceAccounts: ['plain'],
    names: ['secretsmanager/**', 'ssm/**'],
  },
];

/** See {@link startAwsFixture}. */
export type AwsFixtureOptions = {
  /** Besides the endpoints of the fakes and the name of the node. */
  readonly env?: Readonly<Record<string, string>>;
  /** Switches on Keyferry's own identity, with keys in the environment of this process. */
  readonly ownIdentity?: boolean;
  readonly sharedIdentities?: SharedIdentityMode;
  readonly grants?: readonly object[];
  readonly refreshInterval?: number;
};

/** The mount pipeline with provider `aws`, a fake cloud and a fake cluster. */
export async function startAwsFixture(options: AwsFixtureOptions = {}) {
  const { grants = grantsForPlain, ownIdentity = false } = options;
  const cloud = await startAwsCloud({
    roles: [
      { arn: appRole, subject: 'system:serviceaccount:team-a:app' },
      { arn: otherRole, subject: 'system:serviceaccount:team-b:app' },
    ],
    associations: { 'team-a/app': appRole, 'team-a/plain': otherRole },
  });
  const { now, http, clock } = cloud;
  const kubernetes = await startFakeKubernetes({
    'team-a/app': { annotations: { 'eks.amazonaws.com/role-arn': appRole } },
    'team-a/plain': {},
    'team-b/app': { annotations: { 'eks.amazonaws.com/role-arn': otherRole } },
  });
  kubernetes.nodes.set(nodeName, { 'topology.kubernetes.io/region': awsRegion });
  const directory = mkdtempSync(join(tmpdir(), 'keyferry-aws-'));
  const grantsFile = join(directory, 'grants.yaml');
  writeFileSync(grantsFile, JSON.stringify({ grants }));
  const caFile = join(directory, 'ca.crt');
  writeFileSync(caFile, cloud.ca);

  const uidOf = (pod: string): string => `uid-${pod}`;
  const mint = (
    namespace: string,
    serviceAccount: string,
    overrides: Partial<Parameters<typeof mintAwsToken>[0]> = {},
  ) => mintAwsToken({ namespace, serviceAccount, expiresAt: now() + 3_600_000, ...overrides });
  const podTokens = ({ name = 'pod-1', namespace = 'team-a', account = 'app' }: TestPod = {}) => {
    const pod = { podName: name, podUid: uidOf(name) };
    return {
      'sts.amazonaws.com': mint(namespace, account, pod),
      'pods.eks.amazonaws.com': mint(namespace, account, {
        ...pod,
        audience: 'pods.eks.amazonaws.com',
      }),
    };
  };
  // The SDK reads the environment of the process.
  const ownKeys = cloud.account.issueKeys({ holder: ownRole });
  const ownEnv = {
    AWS_ACCESS_KEY_ID: ownKeys.accessKeyId,
    AWS_SECRET_ACCESS_KEY: ownKeys.secretAccessKey,
  };
  if (ownIdentity) Object.assign(process.env, ownEnv);

  const env: Readonly<Record<string, string>> = {
    ...cloud.env,
    KEYFERRY_NODE_NAME: nodeName,
    ...(ownIdentity && { KEYFERRY_AWS_OWN_IDENTITY: 'true', ...ownEnv }),
    ...options.env,
  };
  const lines: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  const registry = new Registry();
  const kubeApi = createKubeApi({ http, ...kubernetes });
  const provider = createAwsProvider({
    ...{ env, http, now, log, kubeApi },
    serviceAccounts: new ServiceAccounts({ api: kubeApi, now }),
    fingerprint: createFingerprint(),
    sharedIdentity: new SharedIdentity({
      ...{ mode: options.sharedIdentities ?? 'granted', grantsFile, log, now },
    }),
    rateLimiterMetrics: createRateLimiterMetrics(registry),
    retryBaseMs: 1,
  });
  const pipeline = createMountPipeline({
    provider,
    now,
    log,
    registry,
    refreshInterval: options.refreshInterval,
  });

  function volume(parameters: string | Record<string, string>, pod: TestPod = {}): Promise<Volume> {
    return pipeline.volume(
      typeof parameters === 'string' ? { region: awsRegion, objects: parameters } : parameters,
      { tokens: podTokens(pod), ...pod },
    );
  }

  return {
    ...cloud,
    ...{ kubernetes, env, caFile, grantsFile, lines, volume, mint, podTokens },
    mountCall: pipeline.mountCall,
    metrics: () => registry.metrics(),
    /** Files by path, or the error line that a user would see. */
    mount: (...args: Parameters<typeof volume>) => mountSummary(volume(...args)),
    /** The owners of the keys of all calls of Secrets Manager. */
    readers: (): string[] => cloud.secretsManager.calls.map(({ holder }) => holder),
    /** Sets a ServiceAccount's annotation; undefined removes it. */
    annotate(role: string | undefined, account = 'team-a/app') {
      kubernetes.serviceAccounts.set(
        account,
        role === undefined ? {} : { annotations: { 'eks.amazonaws.com/role-arn': role } },
      );
    },
    advanceClock(ms: number): void {
      clock.node += ms;
      clock.cloud += ms;
    },
    async close() {
      for (const name of Object.keys(ownEnv)) Reflect.deleteProperty(process.env, name);
      await cloud.close();
      await kubernetes.close();
      rmSync(directory, { recursive: true });
    },
  };
}

export type AwsFixture = Awaited<ReturnType<typeof startAwsFixture>>;
