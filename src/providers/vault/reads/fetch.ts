import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { type BudgetMetrics, createBudgets } from '../../../concurrency/rate-limiter.ts';
import { upTo } from '../../../concurrency/time.ts';
import { toSecretError } from '../../../core/errors.ts';
import { refKey } from '../../../core/plan.ts';
import type { FetchRequest, FetchResult, Provider } from '../../../core/provider.ts';
import type { VaultTokens } from '../auth/token-manager.ts';
import type { VaultApi } from '../client/client.ts';
import type { VaultConfig } from '../config.ts';
import type { VaultLogin, VaultSession } from '../types.ts';
import { createLeases } from './leases.ts';
import { readAnswer } from './read.ts';

/** Questions that are remembered to have been answered as KV. */
const maxPlain = 10_000;
/** How long an answer is heard out that nobody may be waiting for any more. */
const hearMs = 60_000;

/** See {@link createVaultFetch}. */
export type VaultFetchDeps = {
  readonly api: VaultApi;
  readonly tokens: Pick<VaultTokens, 'refused' | 'dependOn'>;
  readonly config: VaultConfig;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly budgetMetrics?: BudgetMetrics;
};

/** See {@link createVaultFetch}. */
export type VaultFetch = Required<
  Pick<Provider<VaultLogin, unknown, VaultSession>, 'fetch' | 'renew' | 'release'>
> & {
  /** Stops its clock. Leases live on, and so must their tokens. */
  close(): void;
};

type Request = FetchRequest<VaultSession>;

/**
 * Reads each path by a call of its own, all at once. Always anew: the metadata of a KV secret would tell whether it has changed, but they are a path of
 * their own, which policies seldom grant, and cost as much as the secret.
 */
export function createVaultFetch(deps: VaultFetchDeps): VaultFetch {
  const { api, tokens, now, budgetMetrics } = deps;
  const { perSecond, burst } = deps.config;
  const leases = createLeases(deps);
  const budgets = createBudgets({ now, metrics: budgetMetrics });
  const plain = new LRUCache<string, true>(upTo(maxPlain));

  async function attempt(request: Request, session: VaultSession): Promise<FetchResult> {
    const { grant, urgency, signal, onStart } = request;
    const { ref, workload } = grant;
    const { login, token } = session;
    // One for each Vault.
    const budget = budgets(login.addresses.join(' '), { name: 'vault', perSecond, burst });
    await budget.take({ namespace: workload.namespace, urgency, signal });
    onStart();
    const askedAt = now();
    // Only what has answered as KV is known to issue nothing. All else is heard out, whoever leaves: a lease that comes too late is given back, and
    // one that nobody heard of would live to its end.
    const question = JSON.stringify([login.addresses, login.namespace, refKey(ref)]);
    const issues = !plain.has(question);
    const answer = await api.call({
      ...{ login, token, method: ref.method ?? 'GET', path: ref.name, issues },
      ...(ref.body !== undefined && { body: ref.body }),
      signal: issues ? AbortSignal.timeout(hearMs) : signal,
    });
    const result = readAnswer(answer, { ref, login, askedAt });
    if (result.kind !== 'value') return result;
    if (result.value.shareable === true) plain.set(question, true);
    else plain.delete(question);
    if (result.value.lease === undefined) return result;
    return { ...result, value: { ...result.value, lease: leases.hold(grant, session, result.value.lease) } };
  }

  /** A lease that is due is put off where that helps. The store does so by itself; a request can be there first. */
  async function prolong({ grant, known, signal, onStart }: Request): Promise<FetchResult | undefined> {
    if (known?.lease?.renewable !== true) return undefined;
    onStart();
    const renewal = await leases.renew(grant, known.lease, signal);
    return renewal.kind === 'renewed' ? { kind: 'unchanged', expiresAt: renewal.expiresAt } : undefined;
  }

  /** A token that Vault refuses, or whose policies do not do any more, is worth one new login. */
  async function read(request: Request): Promise<FetchResult> {
    const { principal } = request.grant;
    const session = await principal.credentials(request.signal);
    try {
      return await attempt(request, session);
    } catch (thrown) {
      const { code } = toSecretError(thrown);
      const mayBeToken = code === 'CREDENTIALS_REFUSED' || code === 'ACCESS_DENIED';
      if (!mayBeToken || !tokens.refused(principal.fingerprint, session)) throw thrown;
      return attempt(request, await principal.credentials(request.signal));
    }
  }

  return {
    fetch: (requests) =>
      requests.map(async (request): Promise<FetchResult> => {
        try {
          return (await prolong(request)) ?? (await read(request));
        } catch (thrown) {
          return { kind: 'failed', error: toSecretError(thrown) };
        }
      }),
    renew: leases.renew,
    release: leases.release,
    close: leases.close,
  };
}
