import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { SecretError } from '../../src/errors/secret-error.ts';
import { createBudgetMetrics } from '../../src/flow/budget-metrics.ts';
import { createTurns } from '../../src/flow/turns.ts';
import { createKubeApi } from '../../src/kube/api.ts';
import { createServiceAccounts } from '../../src/kube/service-accounts.ts';
import { createAudit } from '../../src/mount/audit.ts';
import { createMountMetrics } from '../../src/mount/metrics.ts';
import { createMount } from '../../src/mount/mount.ts';
import { createPlanCache } from '../../src/mount/plan-cache.ts';
import { createRender } from '../../src/mount/render.ts';
import type { Volume } from '../../src/mount/volume.ts';
import { createVolumes } from '../../src/mount/volumes.ts';
import { createAwsProvider } from '../../src/providers/aws/index.ts';
import { createFingerprint } from '../../src/providers/fingerprint.ts';
import { createSharedIdentity, type SharedIdentityMode } from '../../src/providers/shared-identity.ts';
import { createStoreMetrics } from '../../src/store/metrics.ts';
import { createSecretStore } from '../../src/store/secret-store.ts';
import { mountRequest } from '../driver/request.ts';
import { awsRegion, startAwsCloud } from './aws-cloud.ts';
import { mintAwsToken } from './aws-sts.ts';
import { startFakeKubernetes } from './kubernetes.ts';

export const appRole = 'arn:aws:iam::111122223333:role/team/app';
/** That trusts another account of the cluster. */
export const otherRole = 'arn:aws:iam::444455556666:role/other';
/** Keyferry's own. */
export const ownRole = 'arn:aws:iam::111122223333:role/keyferry';
export const node = 'ip-10-0-0-1.eu-west-1.compute.internal';

/** What the grants file says unless a test says otherwise. */
export const grantsForPlain = [
  {
    provider: 'aws',
    namespaces: ['team-a'],
    serviceAccounts: ['plain'],
    names: ['secretsmanager/**', 'ssm/**'],
  },
];

/** How a rig is made. */
export type AwsRigOptions = {
  /** Beside the addresses of the fakes and the name of the node. */
  readonly env?: Readonly<Record<string, string>>;
  /** Keyferry's own identity, by keys in the environment of this process, is switched on. */
  readonly ownIdentity?: boolean;
  readonly sharedIdentities?: SharedIdentityMode;
  readonly grants?: readonly object[];
  readonly refreshInterval?: number;
};

/** A pod, and how its request travels. */
export type AwsPod = {
  readonly name?: string;
  readonly namespace?: string;
  readonly account?: string;
  /** By audience. Default: those of both audiences, as the driver brings them. */
  readonly tokens?: Readonly<Record<string, string>>;
  readonly attributes?: Readonly<Record<string, string>>;
  /** `rotation`: as drivers up to 1.5 do it. */
  readonly occasion?: 'publish' | 'rotation';
  readonly signal?: AbortSignal;
};

/** The whole walk of provider `aws` before a fake cloud and a fake cluster. */
export async function startAwsRig(options: AwsRigOptions = {}) {
  const { refreshInterval = 30_000, grants = grantsForPlain, ownIdentity = false } = options;
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
  kubernetes.nodes.set(node, { 'topology.kubernetes.io/region': awsRegion });
  const directory = mkdtempSync(join(tmpdir(), 'keyferry-aws-'));
  const grantsFile = join(directory, 'grants.yaml');
  writeFileSync(grantsFile, JSON.stringify({ grants }));
  const caFile = join(directory, 'ca.crt');
  writeFileSync(caFile, cloud.ca);

  const uidOf = (pod: string): string => `uid-${pod}`;
  const mint = (
    namespace: string,
    serviceAccount: string,
    more: Partial<Parameters<typeof mintAwsToken>[0]> = {},
  ) => mintAwsToken({ namespace, serviceAccount, expiresAt: now() + 3_600_000, ...more });
  const podTokens = ({ name = 'pod-1', namespace = 'team-a', account = 'app' }: AwsPod = {}) => {
    const pod = { podName: name, podUid: uidOf(name) };
    return {
      'sts.amazonaws.com': mint(namespace, account, pod),
      'pods.eks.amazonaws.com': mint(namespace, account, { ...pod, audience: 'pods.eks.amazonaws.com' }),
    };
  };
  // The SDK looks into the process.
  const own = cloud.account.issueKeys({ holder: ownRole });
  const ownEnv = { AWS_ACCESS_KEY_ID: own.accessKeyId, AWS_SECRET_ACCESS_KEY: own.secretAccessKey };
  if (ownIdentity) Object.assign(process.env, ownEnv);

  const env: Readonly<Record<string, string>> = {
    ...cloud.env,
    KEYFERRY_NODE_NAME: node,
    ...(ownIdentity && { KEYFERRY_AWS_OWN_IDENTITY: 'true', ...ownEnv }),
    ...options.env,
  };
  const lines: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  const registry = new Registry();
  const kubeApi = createKubeApi({ http, ...kubernetes });
  const provider = createAwsProvider({
    ...{ env, http, now, log, kubeApi },
    serviceAccounts: createServiceAccounts({ api: kubeApi, now }),
    fingerprint: createFingerprint(),
    sharedIdentity: createSharedIdentity({
      ...{ mode: options.sharedIdentities ?? 'granted', grantsFile, log, now },
    }),
    budgetMetrics: createBudgetMetrics(registry),
    retryBaseMs: 1,
  });
  const mount = createMount({
    providers: new Map([['aws', provider]]),
    turns: createTurns({ limit: 1_000, maxQueue: 1_000 }),
    plans: createPlanCache(),
    store: createSecretStore({
      ...{ now, log, random: () => 0 },
      freshness: () => ({ refreshInterval, maxStale: 600_000 }),
      metrics: (bytes) => createStoreMetrics(registry, bytes),
    }),
    render: createRender({ versionKey: new Uint8Array(32) }),
    volumes: createVolumes(),
    audit: createAudit({ log, now }),
    metrics: createMountMetrics(registry),
    ...{ log, now },
  });

  function volume(parameters: string | Record<string, string>, pod: AwsPod = {}): Promise<Volume> {
    const { name = 'pod-1', namespace = 'team-a', account = 'app' } = pod;
    const request = mountRequest({
      occasion: pod.occasion ?? 'publish',
      class: {
        metadata: { name: 'app' },
        spec: {
          provider: 'aws',
          parameters:
            typeof parameters === 'string' ? { region: awsRegion, objects: parameters } : parameters,
        },
      },
      pod: { name, namespace, uid: uidOf(name), serviceAccount: account },
      attributes: pod.attributes ?? {},
      tokens: pod.tokens ?? podTokens(pod),
      nodePublishSecret: undefined,
      tokensInSecrets: false,
      targetPath: `/pods/${name}`,
      versions: [],
    });
    const signal = pod.signal ?? new AbortController().signal;
    return mount(request, { provider: 'aws', signal, deadline: now() + 100_000 });
  }

  return {
    ...cloud,
    ...{ kubernetes, env, caFile, grantsFile, lines, volume, mint, podTokens },
    mountCall: mount,
    metrics: () => registry.metrics(),
    /** Files by path, or the line a user would see. */
    async mount(...args: Parameters<typeof volume>): Promise<Record<string, string> | string> {
      try {
        const { files } = await volume(...args);
        return Object.fromEntries(
          files.map(({ path, contents }) => [path, Buffer.from(contents).toString()]),
        );
      } catch (error) {
        if (error instanceof SecretError) return `${error.code}: ${error.summary}`;
        throw error;
      }
    },
    /** Whose keys read, of all calls of Secrets Manager so far. */
    readers: (): string[] => cloud.secretsManager.calls.map(({ holder }) => holder),
    /** Sets a ServiceAccount's annotation; undefined removes it. */
    annotate(role: string | undefined, account = 'team-a/app') {
      kubernetes.serviceAccounts.set(
        account,
        role === undefined ? {} : { annotations: { 'eks.amazonaws.com/role-arn': role } },
      );
    },
    turn(ms: number): void {
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

export type AwsRig = Awaited<ReturnType<typeof startAwsRig>>;
