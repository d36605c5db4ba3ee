import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { createRateLimiterMetrics } from '../../src/concurrency/rate-limiter.ts';
import { createKubeApi } from '../../src/kube/api.ts';
import type { Volume } from '../../src/mount/types.ts';
import { createFingerprint } from '../../src/providers/shared/identity/fingerprint.ts';
import type { SharedIdentityMode } from '../../src/core/provider.ts';
import { SharedIdentity } from '../../src/providers/shared/identity/shared-identity.ts';
import { createVaultProvider } from '../../src/providers/vault/index.ts';
import { startFakeKubernetes } from './kubernetes.ts';
import type { PodTokenOptions } from './vault-jwt.ts';
import { startFakeVault, type FakeVault, type FakeVaultOptions } from './vault.ts';
import { createMountPipeline, mountSummary, type TestPod } from './mount-pipeline.ts';

/** The default grants file: the app of team-a may read below secret/data/. */
export const grantsForApp = [
  {
    provider: 'vault',
    namespaces: ['team-a'],
    serviceAccounts: ['app'],
    names: ['vault/secret/data/**'],
  },
];

/** See {@link startVaultFixture}. */
export type VaultFixtureOptions = FakeVaultOptions & {
  readonly dialect?: 'vault' | 'openbao';
  /** Variables besides the addresses and the authority of the fake. `file` writes a file. */
  readonly env?: (
    vault: FakeVault,
    file: (name: string, text: string) => string,
  ) => Record<string, string>;
  readonly sharedIdentities?: SharedIdentityMode;
  readonly grants?: readonly object[];
  readonly refreshInterval?: number;
  /** Of first mounts. Default 0. */
  readonly patienceMs?: number;
};

/** The whole pipeline of provider `vault` or `openbao`, with a fake Vault and a fake cluster. */
export async function startVaultFixture(options: VaultFixtureOptions = {}) {
  const { dialect = 'vault', grants = grantsForApp } = options;
  const vault = await startFakeVault(options);
  const { now, http, issuer, directory } = vault;
  const kubernetes = await startFakeKubernetes({
    'team-a/app': {},
    'team-a/other': {},
    'team-b/app': {},
  });
  kubernetes.issueTokens(({ namespace, serviceAccount, audience, podUid, expirationSeconds }) =>
    podUid === 'uid-gone'
      ? undefined
      : issuer.podToken({
          namespace,
          serviceAccount,
          audience,
          podUid,
          lifeMs: expirationSeconds * 1_000,
        }),
  );
  const file = (name: string, text: string): string => {
    const path = join(directory, name);
    writeFileSync(path, text);
    return path;
  };
  const grantsFile = file('grants.yaml', JSON.stringify({ grants }));
  const caFile = file('ca.crt', vault.ca);
  const env: Readonly<Record<string, string>> = {
    VAULT_ADDR: vault.addresses.join(),
    VAULT_CACERT: caFile,
    ...options.env?.(vault, file),
  };
  const lines: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  const registry = new Registry();
  const provider = createVaultProvider(dialect, {
    ...{ env, http, now, log },
    kubeApi: createKubeApi({ http, ...kubernetes }),
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
    patienceMs: options.patienceMs,
  });

  function volume(parameters: string | Record<string, string>, pod: TestPod = {}): Promise<Volume> {
    const { name = 'pod-1', namespace = 'team-a', account = 'app' } = pod;
    const classParameters = typeof parameters === 'string' ? { objects: parameters } : parameters;
    return pipeline.volume(
      { roleName: 'app', ...classParameters },
      { tokens: podToken({ namespace, serviceAccount: account, podUid: `uid-${name}` }), ...pod },
    );
  }

  function podToken(tokenOptions: PodTokenOptions = {}): Record<string, string> {
    const { audience = dialect } = tokenOptions;
    return { [audience]: issuer.podToken({ ...tokenOptions, audience }) };
  }

  return {
    ...vault,
    kubernetes,
    env,
    caFile,
    grantsFile,
    lines,
    provider,
    mountCall: pipeline.mountCall,
    metrics: () => registry.metrics(),
    volume,
    file,
    /** Files by path, or the error line of a user. */
    mount: (...args: Parameters<typeof volume>) => mountSummary(volume(...args)),
    /** Tokens of a pod, as the driver brings them. */
    podToken,
    /** How many logins were sent, to all mounts and namespaces. */
    logins: (): number => vault.count(/^POST \/v1\/auth\/.+\/login$/),
    /** Advances the clock and does the work that is due. */
    async tick(ms = 0): Promise<void> {
      vault.advanceClock(ms);
      pipeline.cache.tick();
      // Ends expired tokens also where no request uses them.
      vault.tokens.sweep();
      await new Promise((resolve) => setTimeout(resolve, 20));
    },
    async close() {
      await provider.close?.(AbortSignal.timeout(1_000));
      await vault.close();
      await kubernetes.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export type VaultFixture = Awaited<ReturnType<typeof startVaultFixture>>;
