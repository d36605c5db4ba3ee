import { pino } from 'pino';
import { Registry } from 'prom-client';
import { Redacted } from '../../src/core/redacted.ts';
import { createRefusals } from '../../src/concurrency/rejection-cache.ts';
import { createRetry } from '../../src/concurrency/retry.ts';
import type { SecretRef } from '../../src/core/plan.ts';
import { grant } from '../../src/core/grant.ts';
import type { Grant, Outcome, Principal, Provider, SecretValue } from '../../src/core/provider.ts';
import { createProving } from '../../src/providers/shared/credentials/credential-gate.ts';
import { createVaultApi, type VaultApi } from '../../src/providers/vault/client/client.ts';
import { createVaultFetch } from '../../src/providers/vault/reads/fetch.ts';
import type { VaultSession } from '../../src/providers/vault/types.ts';
import type { VaultLogin } from '../../src/providers/vault/types.ts';
import { createVaultTokens } from '../../src/providers/vault/auth/token-manager.ts';
import type { Presence } from '../../src/cache/leases.ts';
import { createStoreMetrics } from '../../src/cache/metrics.ts';
import { createSecretStore } from '../../src/cache/secret-cache.ts';
import { told } from './store-rig.ts';
import type { TokenLife } from './vault-tokens.ts';
import { startFakeVault } from './vault.ts';

type Ref = string | Partial<SecretRef>;
/** Who asks; ServiceAccount `app` of `team-a` unless said otherwise. */
type Asker = { readonly pod?: string; readonly scope?: Grant['scope']; readonly account?: string };

/** A Vault with KV 1 and 2, a database and a PKI, read through tokens, fetch and the secret store, without classes, on the Vault's own clock. */
export async function startVaultReader(
  options: {
    /** Of the tokens. */
    readonly life?: TokenLife;
    readonly login?: Partial<VaultLogin>;
    readonly presence?: Presence;
  } = {},
) {
  const vault = await startFakeVault({ http: true });
  const { now, http } = vault;
  const lines: string[] = [];
  let underWay = 0;
  const log = pino({}, { write: (line: string) => void lines.push(line) });

  /** What a process of Keyferry keeps in its memory. */
  function startProcess() {
    const real = createVaultApi({ ...{ http, now, log }, retry: createRetry({ baseMs: 1 }) });
    const api: VaultApi = {
      async call(call) {
        underWay += 1;
        try {
          return await real.call(call);
        } finally {
          underWay -= 1;
        }
      },
    };
    const proving = createProving({ refusals: createRefusals({ now }) });
    const tokens = createVaultTokens({ ...{ api, proving, now, log }, random: () => 0 });
    const config = { perSecond: 10_000, burst: 10_000 };
    const { fetch, renew, release, close } = createVaultFetch({ api, tokens, config, now, log });
    const provider: Provider<VaultLogin, unknown, VaultSession> = {
      name: 'vault',
      facts: () => Promise.resolve(undefined),
      plan: () => ({ problems: [] }),
      admit: () => Promise.resolve([]),
      ...{ fetch, renew, release },
    };
    const store = createSecretStore({
      now,
      random: () => 0,
      freshness: () => ({ refreshInterval: 30_000, maxStale: 600_000 }),
      metrics: (bytes) => createStoreMetrics(new Registry(), bytes),
      log,
      ...(options.presence && { presence: options.presence }),
    });

    const principals = new Map<string, Principal<VaultSession>>();
    const principalOf = (account: string): Principal<VaultSession> => {
      const known = principals.get(account);
      if (known !== undefined) return known;
      const token = () => new Redacted(vault.issuer.podToken({ serviceAccount: account }));
      const proof = () => Promise.resolve({ kind: 'jwt', token: token() } as const);
      const principal: Principal<VaultSession> = {
        fingerprint: account,
        description: account,
        identity: 'own',
        credentials: (signal) => tokens.of(account, { login: vault.login(options.login), proof }, signal),
      };
      principals.set(account, principal);
      return principal;
    };

    const grantOf = (ref: Ref, { pod = 'pod', scope = 'pod', account = 'app' }: Asker = {}) =>
      grant({
        ref: {
          service: 'vault',
          name: 'secret/data/app',
          ...(typeof ref === 'string' ? { name: ref } : ref),
        },
        principal: principalOf(account),
        workload: {
          namespace: 'team-a',
          serviceAccount: { name: account },
          instance: pod,
          volume: pod,
          tokens: new Map(),
          secrets: new Map(),
        },
        scope,
      });

    /** As a mount does: reads, and then takes down that all went well. */
    async function read(ref: Ref, asker?: Asker, signal = new AbortController().signal): Promise<Outcome> {
      const grants = [grantOf(ref, asker)];
      const outcomes = await store.read(provider, grants, {
        signal,
        deadline: now() + 100_000,
      });
      if (outcomes.every(({ kind }) => kind !== 'failed')) store.remember(grants, outcomes);
      return outcomes[0]!;
    }

    return {
      ...{ api, tokens, provider, store, grantOf, read, close },
      /** What was read, in a word. */
      ask: async (ref: Ref, asker?: Asker): Promise<string> => told(await read(ref, asker)),
      /** What was read, if it is there. */
      async value(ref: Ref, asker?: Asker): Promise<SecretValue> {
        const outcome = await read(ref, asker);
        if (outcome.kind !== 'value') throw new Error(told(outcome));
        return outcome.value;
      },
    };
  }

  vault.policy('app', {
    'secret/*': ['read'],
    'kv/*': ['read', 'update'],
    'database/*': ['read', 'update'],
    'pki/*': ['read', 'update'],
    'sys/leases/revoke': ['update'],
  });
  vault.auth.kubernetes().role('app', { names: ['*'], namespaces: ['team-a'], ...options.life });
  const space = { kv2: vault.kv2(), kv1: vault.kv1(), database: vault.database(), pki: vault.pki() };
  space.database.role('app');
  space.pki.role('web');

  const until = async (what: string, holds: () => boolean): Promise<void> => {
    for (const late = Date.now() + 3_000; !holds(); await new Promise((resolve) => setTimeout(resolve, 1)))
      if (Date.now() > late) throw new Error(`never came true: ${what}\n${lines.join('')}`);
  };

  /** Until nothing is asked any more, and every answer has done what it does. */
  async function idle(): Promise<void> {
    for (let quiet = 0; quiet < 3; quiet += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      if (underWay > 0) quiet = 0;
    }
  }

  const first = startProcess();
  const { tokens, store } = first;

  return {
    ...{ vault, lines, until, idle, ...space, ...first },
    /** Another process, which knows nothing of the first. */
    restart: startProcess,
    /** Lets time pass, and what is due be done. */
    async pass(ms: number): Promise<void> {
      vault.turn(ms);
      tokens.tick();
      store.tick();
      await idle();
    },
    /** Leases by their state. */
    leases: (state: string): number => vault.leases.all().filter((lease) => lease.state === state).length,
    async close(): Promise<void> {
      first.close();
      await tokens.close(AbortSignal.abort());
      await vault.close();
    },
  };
}

export type VaultReader = Awaited<ReturnType<typeof startVaultReader>>;
