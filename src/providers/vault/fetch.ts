import { LRUCache } from 'lru-cache';
import { type RateLimiterMetrics, createRateLimiters } from '../../concurrency/rate-limiter.ts';
import { lruSizeLimit } from '../../concurrency/lru-size-limit.ts';
import { type SecretError, toSecretError } from '../../core/errors.ts';
import { type SecretRef, refKey } from '../../core/plan.ts';
import type { FetchRequest, FetchResult } from '../../core/provider.ts';
import { type CallContext, createAuthenticatedCall } from '../shared/reads/authenticated-call.ts';
import type { VaultApi, VaultResponse } from './call/api.ts';
import type { VaultRateLimits } from './config.ts';
import type { VaultTokenManager } from './credentials/token-manager.ts';
import { describePath } from './describe.ts';
import type { VaultLeases } from './leases.ts';
import { parseReadResponse } from './response.ts';
import type { VaultSession } from './types.ts';

/** How many reads are remembered to be of a KV engine. */
const maxKvReads = 10_000;
/** How long a read that may issue something continues after its callers have left. */
const issuingTimeoutMs = 60_000;

/** See {@link createFetch}. */
export type FetchDeps = {
  readonly api: VaultApi;
  readonly tokens: Pick<VaultTokenManager, 'invalidate'>;
  readonly leases: Pick<VaultLeases, 'track' | 'renew'>;
  readonly rateLimits: VaultRateLimits;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly rateLimiterMetrics?: RateLimiterMetrics;
};

type Request = FetchRequest<VaultSession>;

/**
 * Reads each path by a call of its own, all at once. It always reads the value: the metadata of a
 * KV secret would show whether it has changed, but policies seldom allow their path, and a read of
 * them costs as much.
 */
export function createFetch(deps: FetchDeps) {
  const { api, tokens, leases, now, rateLimiterMetrics } = deps;
  const { perSecond, burst } = deps.rateLimits;
  const rateLimiters = createRateLimiters({ now, metrics: rateLimiterMetrics });
  const kvReads = new LRUCache<string, true>(lruSizeLimit(maxKvReads));

  const authenticatedCall = createAuthenticatedCall<VaultSession>({
    credentials: tokens,
    // One for each Vault.
    rateLimiterOf: (_, { login }) =>
      rateLimiters(login.addresses.join(' '), { name: login.dialect, perSecond, burst }),
    // The role may have other policies since the login.
    isCredentialError: ({ code }) => code === 'CREDENTIALS_REFUSED' || code === 'ACCESS_DENIED',
  });

  const readPath = (request: Request): Promise<FetchResult> =>
    authenticatedCall(request, async (context) => {
      const { grant } = request;
      const { ref } = grant;
      const { credential: session } = context;
      const { login } = session;
      const readKey = JSON.stringify([login.addresses, login.namespace, refKey(ref)]);
      const { response, sentAt } = await sendRead(api, request, context, {
        now,
        // Only a read of a KV engine certainly issues nothing. Every other read continues after its
        // callers have left: Keyferry revokes a lease that comes too late, and an unknown one would
        // live to its end.
        mayIssue: !kvReads.has(readKey),
      });
      const result = parseReadResponse(response, {
        ...{ ref, login, sentAt },
        token: session.token,
      });
      if (result.kind !== 'value') return result;
      const { value } = result;
      if (value.shareable === true) kvReads.set(readKey, true);
      else kvReads.delete(readKey);
      if (value.lease === undefined) return result;
      return {
        kind: 'value',
        value: { ...value, lease: leases.track(grant, session, value.lease) },
      };
    });

  /**
   * Extends a lease that is due, where that helps. The cache does so in the background, but a
   * request can come first.
   */
  const renewKnownLease = async ({
    grant,
    known,
    signal,
  }: Request): Promise<FetchResult | undefined> => {
    if (known?.lease?.renewable !== true) return undefined;
    const renewal = await leases.renew(grant, known.lease, signal);
    return renewal.kind === 'renewed'
      ? { kind: 'unchanged', expiresAt: renewal.expiresAt }
      : undefined;
  };

  return (requests: readonly Request[]): readonly Promise<FetchResult>[] =>
    requests.map(async (request): Promise<FetchResult> => {
      try {
        return (await renewKnownLease(request)) ?? (await readPath(request));
      } catch (thrown) {
        return { kind: 'failed', error: withPath(toSecretError(thrown), request.grant.ref) };
      }
    });
}

/**
 * Sends a read. If it may issue something, the signal of the callers ends it before an attempt
 * only.
 * @returns the response, and when its attempt began, in milliseconds since the epoch
 */
async function sendRead(
  api: VaultApi,
  { grant: { ref } }: Request,
  { credential: { login, token }, signal, beforeAttempt }: CallContext<VaultSession>,
  { mayIssue, now }: { readonly mayIssue: boolean; readonly now: () => number },
): Promise<{ readonly response: VaultResponse; readonly sentAt: number }> {
  const timeout = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let sentAt = now();
  try {
    const response = await api.call({
      ...{ login, token, method: ref.method ?? 'GET', path: ref.name, mayIssue },
      ...(ref.body !== undefined && { body: ref.body }),
      signal: mayIssue ? timeout.signal : signal,
      waitSignal: signal,
      beforeAttempt: async () => {
        await beforeAttempt();
        // The wait for the rate limiter does not count.
        timer ??= setTimeout(() => timeout.abort(issuingTimeout()), issuingTimeoutMs).unref();
        sentAt = now();
      },
    });
    return { response, sentAt };
  } finally {
    clearTimeout(timer);
  }
}

/** Adds the path to an outage that does not name it, such as one of a connection. */
function withPath(error: SecretError, { name, method = 'GET' }: SecretRef): SecretError {
  const path = describePath({ path: name });
  if (error.kind !== 'outage' || error.message.includes(path)) return error;
  return error.with({ message: `${method} ${path}: ${error.message}` });
}

/** The reason that `AbortSignal.timeout` has. */
function issuingTimeout(): DOMException {
  return new DOMException('the read took too long', 'TimeoutError');
}
