import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { createKubeApi } from '../../src/kube/api.ts';
import { ServiceAccounts } from '../../src/kube/service-accounts.ts';
import { createAlibabaProvider } from '../../src/providers/alibabacloud/index.ts';
import { createFingerprint } from '../../src/providers/shared/identity/fingerprint.ts';
import type { SharedIdentityMode } from '../../src/core/provider.ts';
import { SharedIdentity } from '../../src/providers/shared/identity/shared-identity.ts';
import { alibabaRegion, startAlibabaCloud, type AlibabaCloudOptions } from './alibaba-cloud.ts';
import { mintAlibabaToken, type RamRole } from './alibaba-sts.ts';
import { startFakeKubernetes } from './kubernetes.ts';
import { createMountPipeline, mountSummary } from './mount-pipeline.ts';

export const oidcProvider = 'acs:ram::1234567890:oidc-provider/ack-rrsa-c0123';
export const appRole = 'acs:ram::1234567890:role/app';
export const providerRole = 'acs:ram::1234567890:role/keyferry';
/** In other accounts. */
export const [staging, production] = [
  'acs:ram::2222222222:role/reader',
  'acs:ram::3333333333:role/reader',
];

const roles: readonly RamRole[] = [
  {
    arn: appRole,
    oidc: { providerArn: oidcProvider, subject: 'system:serviceaccount:team-a:app' },
  },
  {
    arn: providerRole,
    oidc: { providerArn: oidcProvider, subject: 'system:serviceaccount:keyferry:keyferry' },
    trustedPrincipals: ['user'],
  },
  { arn: staging, trustedPrincipals: ['user', 'worker', appRole, providerRole] },
  { arn: production, trustedPrincipals: ['user', 'worker', appRole, providerRole] },
];

/** The default grants: the app of team-a may read every secret, and may not assume a role. */
export const grantsForApp = [
  {
    provider: 'alibabacloud',
    namespaces: ['team-a'],
    serviceAccounts: ['app'],
    names: ['kms/**', 'oos/**'],
  },
];

/** See {@link startAlibabaFixture}. */
export type AlibabaFixtureOptions = Pick<AlibabaCloudOptions, 'metadataTokens' | 'isIssued'> & {
  /** Variables beside the addresses of the fakes. Without any, the RAM role of the node reads. */
  readonly env?: Readonly<Record<string, string>>;
  /** Roles beside the default ones. */
  readonly roles?: readonly RamRole[];
  /** Gives the provider static keys of `user`. */
  readonly keys?: boolean;
  readonly sharedIdentities?: SharedIdentityMode;
  readonly grants?: readonly object[];
  readonly refreshInterval?: number;
};

/** Runs provider `alibabacloud` and the mount pipeline against a fake cloud and a fake cluster. */
export async function startAlibabaFixture(options: AlibabaFixtureOptions = {}) {
  const { metadataTokens, isIssued, grants = grantsForApp } = options;
  const cloud = await startAlibabaCloud({
    roles: [...roles, ...(options.roles ?? [])],
    ...(metadataTokens && { metadataTokens }),
    ...(isIssued && { isIssued }),
  });
  const { now, http, clock } = cloud;
  const kubernetes = await startFakeKubernetes({
    'team-a/app': { annotations: { 'ack.alibabacloud.com/role-arn': appRole } },
    'team-a/plain': {},
    'team-b/app': {},
  });
  const directory = mkdtempSync(join(tmpdir(), 'keyferry-alibabacloud-'));
  const grantsFile = join(directory, 'grants.yaml');
  writeFileSync(grantsFile, JSON.stringify({ grants }));
  const tokenFile = join(directory, 'token');
  const mint = (namespace: string, serviceAccount: string, lifeMs = 3_600_000): string =>
    mintAlibabaToken({ namespace, serviceAccount, expiresAt: now() + lifeMs });
  writeFileSync(tokenFile, `${mint('keyferry', 'keyferry')}\n`);
  const caFile = join(directory, 'ca.crt');
  writeFileSync(caFile, cloud.ca);

  const keys = cloud.account.issueKeys();
  const env: Readonly<Record<string, string>> = {
    KEYFERRY_ALIBABACLOUD_KMS_ENDPOINT: cloud.kms.url.href,
    KEYFERRY_ALIBABACLOUD_OOS_ENDPOINT: cloud.oos.url.href,
    KEYFERRY_ALIBABACLOUD_STS_ENDPOINT: cloud.sts.url.href,
    KEYFERRY_ALIBABACLOUD_METADATA_ENDPOINT: cloud.metadata.url.href,
    ALICLOUD_OIDC_PROVIDER_ARN: oidcProvider,
    ALICLOUD_OIDC_TOKEN_FILE: tokenFile,
    ...(options.keys === true && {
      ACCESS_KEY_ID: keys.accessKeyId,
      SECRET_ACCESS_KEY: keys.accessKeySecret,
    }),
    ...options.env,
  };
  const lines: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  const provider = createAlibabaProvider({
    ...{ env, http, now, log },
    serviceAccounts: new ServiceAccounts({ api: createKubeApi({ http, ...kubernetes }), now }),
    fingerprint: createFingerprint(),
    sharedIdentity: new SharedIdentity({
      ...{ mode: options.sharedIdentities ?? 'granted', grantsFile, log, now },
    }),
    retryBaseMs: 1,
  });
  const { mountCall, volume } = createMountPipeline({
    ...{ provider, now, log },
    refreshInterval: options.refreshInterval,
  });

  return {
    ...cloud,
    kubernetes,
    env,
    caFile,
    grantsFile,
    tokenFile,
    lines,
    mountCall,
    volume,
    mint,
    /** Returns the files by path, or the line that the user sees. */
    mount: (...args: Parameters<typeof volume>) => mountSummary(volume(...args)),
    /** The holders of the keys of all calls of KMS. */
    readers: (): (string | undefined)[] => cloud.kms.calls.map(({ holder }) => holder),
    /** The tokens of a pod, in the form of the driver. */
    podToken: (namespace = 'team-a', account = 'app', lifeMs?: number) => ({
      'sts.aliyuncs.com': mint(namespace, account, lifeMs),
    }),
    /** Sets the annotation of a ServiceAccount. Undefined removes it. */
    annotate(role: string | undefined, account = 'team-a/app') {
      kubernetes.serviceAccounts.set(
        account,
        role === undefined ? {} : { annotations: { 'ack.alibabacloud.com/role-arn': role } },
      );
    },
    advanceClock(ms: number): void {
      clock.node += ms;
      clock.cloud += ms;
    },
    async close() {
      await cloud.close();
      await kubernetes.close();
      rmSync(directory, { recursive: true });
    },
  };
}

export type AlibabaFixture = Awaited<ReturnType<typeof startAlibabaFixture>>;

export const region = alibabaRegion;
