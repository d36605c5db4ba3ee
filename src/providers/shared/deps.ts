import type { Logger } from 'pino';
import type { RateLimiterMetrics } from '../../concurrency/rate-limiter.ts';
import { type Retry, createRetry } from '../../concurrency/retry.ts';
import type { HttpClient } from '../../http/client.ts';
import type { Fingerprint } from './identity/fingerprint.ts';

/** What every provider of a remote store needs of the process it runs in. */
export type ProviderDeps = {
  /** What it is configured by; see `config.ts` of the provider. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly http: HttpClient;
  readonly fingerprint: Fingerprint;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly rateLimiterMetrics?: RateLimiterMetrics;
  /** The longest pause before a second attempt, in milliseconds. */
  readonly retryBaseMs?: number;
};

/** The retry of a provider; its failed attempts are counted under its name. */
export function createProviderRetry(
  name: string,
  { retryBaseMs, rateLimiterMetrics }: Pick<ProviderDeps, 'retryBaseMs' | 'rateLimiterMetrics'>,
): Retry {
  return createRetry({
    ...(retryBaseMs !== undefined && { baseMs: retryBaseMs }),
    onFailedAttempt: ({ code }) => rateLimiterMetrics?.failedAttempts.inc({ budget: name, code }),
  });
}
