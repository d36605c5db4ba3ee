import { pino } from 'pino';
import { Registry } from 'prom-client';
import { Redacted } from '../../src/core/redacted.ts';
import { RejectionCache } from '../../src/concurrency/rejection-cache.ts';
import { createRetry } from '../../src/concurrency/retry.ts';
import type { SecretRef } from '../../src/core/plan.ts';
import { grant } from '../../src/core/grant.ts';
import type { Grant, Outcome, Principal, Provider, SecretValue } from '../../src/core/provider.ts';
import { CredentialGate } from '../../src/providers/shared/credentials/credential-gate.ts';
import { type VaultApi, VaultClient } from '../../src/providers/vault/call/api.ts';
import { createFetch } from '../../src/providers/vault/fetch.ts';
import { VaultLeases } from '../../src/providers/vault/leases.ts';
import type { VaultSession } from '../../src/providers/vault/types.ts';
import type { VaultLogin } from '../../src/providers/vault/types.ts';
import { VaultTokenManager } from '../../src/providers/vault/credentials/token-manager.ts';
import type { Presence } from '../../src/concurrency/workload-memory.ts';
import { createCacheMetrics } from '../../src/cache/metrics.ts';
import { SecretCache } from '../../src/cache/secret-cache.ts';
import { formatOutcome } from './cache-fixture.ts';
import type { TokenLifetime } from './vault-tokens.ts';
import { startFakeVault } from './vault.ts';
import { inOneStep } from '../../src/core/steps.ts';

type Ref = string | Partial<SecretRef>;
/** The pod of a read; by default of ServiceAccount `app` of `team-a`. */
type Requester = {
  readonly pod?: string;
  readonly scope?: Grant['scope'];
  readonly account?: string;
};

/**
 * A Vault with KV 1 and 2, a database and a PKI. Reads go through tokens, fetch and the secret
 * cache, without classes, on the Vault's own clock.
 */
export async function startVaultReader(
  options: {
    /** The lifetime of tokens. */
    readonly lifetime?: TokenLifetime;
    readonly login?: Partial<VaultLogin>;
    readonly presence?: Presence;
  } = {},
) {
  const vault = await startFakeVault({ http: true });
  const { now, http } = vault;
  const lines: string[] = [];
  let inFlightCalls = 0;
  const log = pino({}, { write: (line: string) => void lines.push(line) });

  /** The state that a process of Keyferry has in memory. */
  function startProcess() {
    const realApi = new VaultClient({ ...{ http, now, log }, retry: createRetry({ baseMs: 1 }) });
    const api: VaultApi = {
      async call(call) {
        inFlightCalls += 1;
        try {
          return await realApi.call(call);
        } finally {
          inFlightCalls -= 1;
        }
      },
    };
    const credentialGate = new CredentialGate({
      rejectionCache: new RejectionCache({ now }),
      now,
    });
    const tokens = new VaultTokenManager({
      ...{ api, credentialGate, now, log },
      random: () => 0,
    });
    const config = { perSecond: 10_000, burst: 10_000 };
    const leases = new VaultLeases({ api, tokens, now, log });
    const provider: Provider<VaultLogin, unknown, VaultSession> = {
      name: 'vault',
      nodeFacts: () => Promise.resolve(undefined),
      plan: () => inOneStep('held', () => ({ problems: [] })),
      authorize: () => Promise.resolve([]),
      fetch: createFetch({ api, tokens, leases, rateLimits: config, now }),
      renew: (...args) => leases.renew(...args),
      release: (...args) => leases.release(...args),
      handOver: (...args) => leases.handOver(...args),
      takeOver: (...args) => leases.takeOver(...args),
    };
    const cache = new SecretCache({
      now,
      random: () => 0,
      freshness: () => ({ refreshIntervalMs: 30_000, maxStaleMs: 600_000 }),
      metrics: (bytes) => createCacheMetrics(new Registry(), bytes),
      log,
      ...(options.presence && { presence: options.presence }),
    });

    const principals = new Map<string, Principal<VaultSession>>();
    const principalOf = (account: string): Principal<VaultSession> => {
      const existing = principals.get(account);
      if (existing !== undefined) return existing;
      const token = () => new Redacted(vault.issuer.podToken({ serviceAccount: account }));
      const credential = () => Promise.resolve({ kind: 'jwt', token: token() } as const);
      const principal: Principal<VaultSession> = {
        fingerprint: account,
        description: account,
        kind: 'own',
        credentials: (signal) =>
          tokens.getSession(
            account,
            { login: vault.login(options.login), getCredential: credential },
            signal,
          ),
      };
      principals.set(account, principal);
      return principal;
    };

    const grantOf = (ref: Ref, { pod = 'pod', scope = 'pod', account = 'app' }: Requester = {}) =>
      grant({
        ref: {
          service: 'vault',
          name: 'secret/data/app',
          ...(typeof ref === 'string' ? { name: ref } : ref),
        },
        principal: principalOf(account),
        workload: {
          tenant: 'team-a',
          identity: { name: account },
          instance: pod,
          volume: pod,
          tokens: new Map(),
          secrets: new Map(),
        },
        scope,
      });

    /** Reads as a mount does, and then records the delivery. */
    async function read(
      ref: Ref,
      requester?: Requester,
      signal = new AbortController().signal,
    ): Promise<Outcome> {
      const grants = [grantOf(ref, requester)];
      const outcomes = await cache.read(provider, grants, {
        signal,
        deadline: now() + 100_000,
      });
      if (outcomes.every(({ kind }) => kind !== 'failed')) cache.recordDelivery(grants, outcomes);
      return outcomes[0]!;
    }

    return {
      ...{ api, tokens, provider, cache, grantOf, read, close: () => leases.close() },
      /** Reads, and formats the outcome. */
      readText: async (ref: Ref, requester?: Requester): Promise<string> =>
        formatOutcome(await read(ref, requester)),
      /** Reads a value. @throws for any other outcome */
      async value(ref: Ref, requester?: Requester): Promise<SecretValue> {
        const outcome = await read(ref, requester);
        if (outcome.kind !== 'value') throw new Error(formatOutcome(outcome));
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
  vault.auth
    .kubernetes()
    .role('app', { names: ['*'], namespaces: ['team-a'], ...options.lifetime });
  const backends = {
    kv2: vault.kv2(),
    kv1: vault.kv1(),
    database: vault.database(),
    pki: vault.pki(),
  };
  backends.database.role('app');
  backends.pki.role('web');

  const until = async (description: string, condition: () => boolean): Promise<void> => {
    for (
      const timeoutAt = Date.now() + 3_000;
      !condition();
      await new Promise((resolve) => setTimeout(resolve, 1))
    )
      if (Date.now() > timeoutAt)
        throw new Error(`never came true: ${description}\n${lines.join('')}`);
  };

  /** Waits until no call is in flight, and all responses are processed. */
  async function idle(): Promise<void> {
    for (let idleRounds = 0; idleRounds < 3; idleRounds += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      if (inFlightCalls > 0) idleRounds = 0;
    }
  }

  const first = startProcess();
  const { tokens, cache } = first;

  return {
    ...{ vault, lines, until, idle, ...backends, ...first },
    /** Starts another process, without the state of the first one. */
    restart: startProcess,
    /** Advances the clock, and does the work that is due. */
    async advanceClock(ms: number): Promise<void> {
      vault.advanceClock(ms);
      tokens.tick();
      cache.tick();
      await idle();
    },
    /** How many leases have a state. */
    leases: (state: string): number =>
      vault.leases.all().filter((lease) => lease.state === state).length,
    async close(): Promise<void> {
      first.close();
      await tokens.close(AbortSignal.abort());
      await vault.close();
    },
  };
}

export type VaultReader = Awaited<ReturnType<typeof startVaultReader>>;
