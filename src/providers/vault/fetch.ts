import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { type RateLimiterMetrics, createRateLimiters } from '../../concurrency/rate-limiter.ts';
import { lruSizeLimit } from '../../concurrency/time.ts';
import { toSecretError } from '../../core/errors.ts';
import { refKey } from '../../core/plan.ts';
import type { FetchRequest, FetchResult, Provider } from '../../core/provider.ts';
import type { VaultTokenManager } from './credentials/token-manager.ts';
import type { VaultApi } from './call/api.ts';
import type { VaultRateLimits } from './config.ts';
import type { VaultLogin, VaultSession } from './types.ts';
import { createVaultLeases } from './leases.ts';
import { parseReadResponse } from './response.ts';

/** Questions that are remembered to have been answered as KV. */
const maxKvCalls = 10_000;
/** How long an answer is heard out that nobody may be waiting for any more. */
const issuingTimeoutMs = 60_000;

/** See {@link createVaultFetch}. */
export type VaultFetchDeps = {
  readonly api: VaultApi;
  readonly tokens: Pick<VaultTokenManager, 'invalidate' | 'retain'>;
  readonly rateLimits: VaultRateLimits;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly rateLimiterMetrics?: RateLimiterMetrics;
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
  const { api, tokens, now, rateLimiterMetrics } = deps;
  const { perSecond, burst } = deps.rateLimits;
  const leases = createVaultLeases(deps);
  const rateLimiters = createRateLimiters({ now, metrics: rateLimiterMetrics });
  const kvCalls = new LRUCache<string, true>(lruSizeLimit(maxKvCalls));

  async function attempt(request: Request, session: VaultSession): Promise<FetchResult> {
    const { grant, urgency, signal, onStart } = request;
    const { ref, workload } = grant;
    const { login, token } = session;
    // One for each Vault.
    const rateLimiter = rateLimiters(login.addresses.join(' '), {
      name: 'vault',
      perSecond,
      burst,
    });
    await rateLimiter.acquire({ namespace: workload.tenant, urgency, signal });
    onStart();
    const sentAt = now();
    // Only what has answered as KV is known to issue nothing. All else is heard out, whoever leaves: a lease that comes too late is given back, and
    // one that nobody heard of would live to its end.
    const callKey = JSON.stringify([login.addresses, login.namespace, refKey(ref)]);
    const mayIssue = !kvCalls.has(callKey);
    const response = await api.call({
      ...{ login, token, method: ref.method ?? 'GET', path: ref.name, mayIssue },
      ...(ref.body !== undefined && { body: ref.body }),
      signal: mayIssue ? AbortSignal.timeout(issuingTimeoutMs) : signal,
    });
    const result = parseReadResponse(response, { ref, login, sentAt });
    if (result.kind !== 'value') return result;
    if (result.value.shareable === true) kvCalls.set(callKey, true);
    else kvCalls.delete(callKey);
    if (result.value.lease === undefined) return result;
    return {
      ...result,
      value: { ...result.value, lease: leases.track(grant, session, result.value.lease) },
    };
  }

  /** A lease that is due is put off where that helps. The store does so by itself; a request can be there first. */
  async function renewKnownLease({
    grant,
    known,
    signal,
    onStart,
  }: Request): Promise<FetchResult | undefined> {
    if (known?.lease?.renewable !== true) return undefined;
    onStart();
    const renewal = await leases.renew(grant, known.lease, signal);
    return renewal.kind === 'renewed'
      ? { kind: 'unchanged', expiresAt: renewal.expiresAt }
      : undefined;
  }

  /** A token that Vault refuses, or whose policies do not do any more, is worth one new login. */
  async function readWithRelogin(request: Request): Promise<FetchResult> {
    const { principal } = request.grant;
    const session = await principal.credentials(request.signal);
    try {
      return await attempt(request, session);
    } catch (thrown) {
      const { code } = toSecretError(thrown);
      const mayBeTokenError = code === 'CREDENTIALS_REFUSED' || code === 'ACCESS_DENIED';
      if (!mayBeTokenError || !tokens.invalidate(principal.fingerprint, session)) throw thrown;
      return attempt(request, await principal.credentials(request.signal));
    }
  }

  return {
    fetch: (requests) =>
      requests.map(async (request): Promise<FetchResult> => {
        try {
          return (await renewKnownLease(request)) ?? (await readWithRelogin(request));
        } catch (thrown) {
          return { kind: 'failed', error: toSecretError(thrown) };
        }
      }),
    renew: leases.renew,
    release: leases.release,
    close: leases.close,
  };
}
