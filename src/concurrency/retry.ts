import { LRUCache } from 'lru-cache';
import { type ErrorCode, SecretError } from '../core/errors.ts';
import { raceWithAbort } from './deadline.ts';

const maxAttempts = 3;
/** When the store requests a longer pause than this, the call fails at once. */
const maxRetryAfterMs = 5_000;
/** In tenths of a retry, so that sums stay exact. A full bucket holds ten retries. */
const tokenBucket = { full: 100, earnedPerCall: 1, cost: 10 };
const maxEndpoints = 1_000;

/**
 * Repeats a call after a transient error. It is the only layer that does so. CONTRIBUTING.md lists
 * the few places that send a call again for another reason ("Where to look").
 */
export type Retry = {
  /**
   * Runs `attempt` up to three times. It stops when `isRetryable` says no, when the endpoint has no
   * retries left, when the store requests a pause of more than 5 s (`retryAfterMs` of the error),
   * or when the signal fires.
   * @param endpoint calls with the same endpoint share one bucket of retries: a host, or host:port
   * @param attempt gets its number, from 1; it observes the signal itself
   * @param isRetryable default {@link isTransient}
   * @throws the error of the last attempt; the signal's reason if it fires during a pause
   */
  run<T>(
    endpoint: string,
    signal: AbortSignal,
    attempt: (attemptNumber: number) => Promise<T>,
    isRetryable?: (error: SecretError) => boolean,
  ): Promise<T>;
};

/** See {@link createRetry}. */
export type RetryOptions = {
  /** From 0 up to, but not including, 1. Default Math.random. */
  readonly random?: () => number;
  /** The longest pause before the second attempt, in ms; doubled before the third. Default 100. */
  readonly baseMs?: number;
  /** The longest pause, in ms, without the pause that the store requests. Default 2,000. */
  readonly capMs?: number;
  /** Gets every attempt that failed, also when a later one succeeds. */
  readonly onFailedAttempt?: ((error: SecretError) => void) | undefined;
};

const transientCodes: ReadonlySet<ErrorCode> = new Set([
  'STORE_UNAVAILABLE',
  'STORE_TIMEOUT',
  'STORE_THROTTLED',
]);

/** Whether the same call can succeed a moment later. */
export function isTransient({ code }: SecretError): boolean {
  return transientCodes.has(code);
}

/**
 * Pauses with full jitter (a random time between 0 and the longest pause) and keeps a token bucket
 * for each endpoint: a store in trouble gets at most a tenth more calls than without retries.
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
    async run(endpoint, signal, attempt, isRetryable = isTransient) {
      signal.throwIfAborted();
      const bucket = bucketOf(endpoint);
      bucket.tenths = Math.min(tokenBucket.full, bucket.tenths + tokenBucket.earnedPerCall);
      for (let attemptNumber = 1; ; attemptNumber += 1) {
        try {
          return await attempt(attemptNumber);
        } catch (thrown) {
          if (!(thrown instanceof SecretError)) throw thrown;
          onFailedAttempt?.(thrown);
          if (signal.aborted || attemptNumber === maxAttempts || !isRetryable(thrown)) throw thrown;
          const { retryAfterMs = 0 } = thrown;
          if (retryAfterMs > maxRetryAfterMs || bucket.tenths < tokenBucket.cost) throw thrown;
          bucket.tenths -= tokenBucket.cost;
          const backoffMs = random() * Math.min(capMs, baseMs * 2 ** (attemptNumber - 1));
          await delay(retryAfterMs + backoffMs, signal);
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
