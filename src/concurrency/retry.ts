import { LRUCache } from 'lru-cache';
import { SecretError } from '../core/errors.ts';
import { raceWithAbort } from './single-flight.ts';

const maxAttempts = 3;
/** Who is told to wait longer than this fails at once, with the answer that said so. */
const maxRetryAfterMs = 5_000;
/** In tenths of a retry, so that sums stay exact: ten in hand, a tenth earned by each call. */
const tokenBucket = { full: 100, earnedPerCall: 1, cost: 10 };
const maxEndpoints = 1_000;

/** Tries again what may succeed, without making an outage worse. The one layer that does. */
export type Retry = {
  /**
   * Runs `attempt` up to three times, as long as `again` says so, the endpoint's retries in hand last, and the signal
   * has not fired. `attempt` is given its number, from 1, and heeds the signal itself.
   * @param endpoint what shares one bucket of retries: a host, or host and port
   * @param shouldRetry whether a failure may pass by itself; `afterMs`: the store asked for at least that pause
   * @throws what the last attempt threw; the signal's reason where it fires during a pause
   */
  run<T>(
    endpoint: string,
    signal: AbortSignal,
    attempt: (attemptNumber: number) => Promise<T>,
    shouldRetry: (error: SecretError) => boolean | { readonly afterMs: number },
  ): Promise<T>;
};

/** See {@link createRetry}. */
export type RetryOptions = {
  /** From 0 up to, but not, 1. */
  readonly random?: () => number;
  /** The longest pause before the second attempt; doubled before the third. */
  readonly baseMs?: number;
  /** The longest pause of all, but for one the store asked for. */
  readonly capMs?: number;
  /** Told every attempt that failed, repeated or not: throttling that was waited out shows nowhere else. */
  readonly onFailedAttempt?: ((error: SecretError) => void) | undefined;
};

/**
 * Full jitter (a pause anywhere between 0 and the longest) and a token bucket for each endpoint, so that a store in
 * trouble sees at most a tenth more calls than without retries.
 */
export function createRetry(options: RetryOptions = {}): Retry {
  const { random = Math.random, baseMs = 100, capMs = 2_000, onFailedAttempt } = options;
  const buckets = new LRUCache<string, { tenths: number }>({ max: maxEndpoints });

  function bucketOf(endpoint: string): { tenths: number } {
    const existing = buckets.get(endpoint);
    if (existing !== undefined) return existing;
    const created = { tenths: tokenBucket.full };
    buckets.set(endpoint, created);
    return created;
  }

  return {
    async run(endpoint, signal, attempt, shouldRetry) {
      signal.throwIfAborted();
      const endpointBucket = bucketOf(endpoint);
      endpointBucket.tenths = Math.min(
        tokenBucket.full,
        endpointBucket.tenths + tokenBucket.earnedPerCall,
      );
      for (let attemptNumber = 1; ; attemptNumber += 1) {
        try {
          return await attempt(attemptNumber);
        } catch (thrown) {
          if (!(thrown instanceof SecretError)) throw thrown;
          onFailedAttempt?.(thrown);
          if (signal.aborted || attemptNumber === maxAttempts) throw thrown;
          const decision = shouldRetry(thrown);
          const retryAfterMs = typeof decision === 'object' ? decision.afterMs : 0;
          if (
            decision === false ||
            retryAfterMs > maxRetryAfterMs ||
            endpointBucket.tenths < tokenBucket.cost
          )
            throw thrown;
          endpointBucket.tenths -= tokenBucket.cost;
          await delay(
            retryAfterMs + random() * Math.min(capMs, baseMs * 2 ** (attemptNumber - 1)),
            signal,
          );
        }
      }
    },
  };
}

async function delay(ms: number, signal: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const delayEnd = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  try {
    await raceWithAbort(delayEnd, signal);
  } finally {
    clearTimeout(timer);
  }
}
