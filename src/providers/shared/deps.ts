import type { Logger } from 'pino';
import type { RateLimiterMetrics } from '../../concurrency/rate-limiter.ts';
import { type Retry, createRetry } from '../../concurrency/retry.ts';
import type { HttpClient } from '../../http/client.ts';
import type { Fingerprint } from './identity/fingerprint.ts';

/** What every provider of a remote store gets from the process. */
export type ProviderDeps = {
  /** The environment. `config.ts` of the provider reads its variables. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly http: HttpClient;
  readonly fingerprint: Fingerprint;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly rateLimiterMetrics?: RateLimiterMetrics;
  /** The longest pause before a second attempt, in milliseconds. See `createRetry`. */
  readonly retryBaseMs?: number;
};

/**
 * Makes the retry of a provider.
 * @param name the metric counts failed attempts under this name
 */
export function createProviderRetry(
  name: string,
  { retryBaseMs, rateLimiterMetrics }: Pick<ProviderDeps, 'retryBaseMs' | 'rateLimiterMetrics'>,
): Retry {
  return createRetry({
    ...(retryBaseMs !== undefined && { baseMs: retryBaseMs }),
    onFailedAttempt: ({ code }) => rateLimiterMetrics?.failedAttempts.inc({ budget: name, code }),
  });
}
