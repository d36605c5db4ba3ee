import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { SecretError } from '../../src/errors/secret-error.ts';
import { createTurns } from '../../src/flow/turns.ts';
import { createKubeApi } from '../../src/kube/api.ts';
import { createAudit } from '../../src/mount/audit.ts';
import { createMountMetrics } from '../../src/mount/metrics.ts';
import { createMount } from '../../src/mount/mount.ts';
import { createPlanCache } from '../../src/mount/plan-cache.ts';
import { createRender } from '../../src/mount/render.ts';
import type { Volume } from '../../src/mount/volume.ts';
import { createVolumes } from '../../src/mount/volumes.ts';
import { createFingerprint } from '../../src/providers/fingerprint.ts';
import { createSharedIdentity, type SharedIdentityMode } from '../../src/providers/shared-identity.ts';
import { createVaultProvider } from '../../src/providers/vault/index.ts';
import { createStoreMetrics } from '../../src/store/metrics.ts';
import { createSecretStore } from '../../src/store/secret-store.ts';
import { mountRequest } from '../driver/request.ts';
import { startFakeKubernetes } from './kubernetes.ts';
import type { PodTokenOptions } from './vault-jwt.ts';
import { startFakeVault, type FakeVault, type FakeVaultOptions } from './vault.ts';

/** What the grants file says unless a test says otherwise: the app of team-a may read below secret/data/. */
export const grantsForApp = [
  { provider: 'vault', namespaces: ['team-a'], serviceAccounts: ['app'], names: ['vault/secret/data/**'] },
];

/** How a rig is made. */
export type VaultRigOptions = FakeVaultOptions & {
  readonly dialect?: 'vault' | 'openbao';
  /** Beside the addresses and the authority of the fake; given what it is made of, and a way to write files. */
  readonly env?: (vault: FakeVault, file: (name: string, text: string) => string) => Record<string, string>;
  readonly sharedIdentities?: SharedIdentityMode;
  readonly grants?: readonly object[];
  readonly refreshInterval?: number;
};

/** A pod, and how its request travels. */
export type VaultPod = {
  readonly name?: string;
  readonly namespace?: string;
  readonly account?: string;
  /** Default: one of the pod's own for the audience of the provider. */
  readonly tokens?: Readonly<Record<string, string>>;
  /** The Secret of `nodePublishSecretRef`. */
  readonly secret?: Readonly<Record<string, string>>;
  readonly attributes?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
};

/** The whole walk of provider `vault` or `openbao` before a fake Vault and a fake cluster. */
export async function startVaultRig(options: VaultRigOptions = {}) {
  const { dialect = 'vault', refreshInterval = 30_000, grants = grantsForApp } = options;
  const vault = await startFakeVault(options);
  const { now, http, issuer, directory } = vault;
  const kubernetes = await startFakeKubernetes({ 'team-a/app': {}, 'team-a/other': {}, 'team-b/app': {} });
  kubernetes.issueTokens(({ namespace, serviceAccount, audience, podUid, expirationSeconds }) =>
    podUid === 'uid-gone'
      ? undefined
      : issuer.podToken({ namespace, serviceAccount, audience, podUid, lifeMs: expirationSeconds * 1_000 }),
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
    sharedIdentity: createSharedIdentity({
      ...{ mode: options.sharedIdentities ?? 'granted', grantsFile, log, now },
    }),
    retryBaseMs: 1,
  });
  const store = createSecretStore({
    ...{ now, log, random: () => 0 },
    freshness: () => ({ refreshInterval, maxStale: 600_000 }),
    metrics: (bytes) => createStoreMetrics(registry, bytes),
  });
  const mount = createMount({
    providers: new Map([[dialect, provider]]),
    turns: createTurns({ limit: 1_000, maxQueue: 1_000 }),
    plans: createPlanCache(),
    store,
    render: createRender({ versionKey: new Uint8Array(32) }),
    volumes: createVolumes(),
    audit: createAudit({ log, now }),
    metrics: createMountMetrics(registry),
    ...{ log, now },
  });

  function volume(parameters: string | Record<string, string>, pod: VaultPod = {}): Promise<Volume> {
    const { name = 'pod-1', namespace = 'team-a', account = 'app' } = pod;
    const { tokens = podToken({ namespace, serviceAccount: account, podUid: `uid-${name}` }) } = pod;
    const request = mountRequest({
      occasion: 'publish',
      class: {
        metadata: { name: 'app' },
        spec: {
          provider: dialect,
          parameters: {
            roleName: 'app',
            ...(typeof parameters === 'string' ? { objects: parameters } : parameters),
          },
        },
      },
      pod: { name, namespace, uid: `uid-${name}`, serviceAccount: account },
      attributes: pod.attributes ?? {},
      tokens,
      nodePublishSecret: pod.secret,
      tokensInSecrets: false,
      targetPath: `/pods/${name}`,
      versions: [],
    });
    const signal = pod.signal ?? new AbortController().signal;
    return mount(request, { provider: dialect, signal, deadline: now() + 100_000 });
  }

  function podToken(more: PodTokenOptions = {}): Record<string, string> {
    const { audience = dialect } = more;
    return { [audience]: issuer.podToken({ ...more, audience }) };
  }

  return {
    ...vault,
    kubernetes,
    env,
    caFile,
    grantsFile,
    lines,
    provider,
    mountCall: mount,
    volume,
    file,
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
    /** Tokens of a pod, as the driver brings them. */
    podToken,
    /** How many logins there were, of all mounts and namespaces. */
    logins: (): number => vault.count(/^POST \/v1\/auth\/.+\/login$/),
    /** Does what is due after time has passed. */
    async tick(ms = 0): Promise<void> {
      vault.turn(ms);
      store.tick();
      // Sweeps end what the clock has overtaken, also where nobody asks for it.
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

export type VaultRig = Awaited<ReturnType<typeof startVaultRig>>;
