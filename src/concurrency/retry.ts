import { type ErrorCode, SecretError } from '../core/errors.ts';
import { currentCaller } from './caller.ts';
import { raceWithAbort, withTimeout } from './deadline.ts';
import { RetryBudget } from './retry-budget.ts';
import { RetryTurns } from './retry-turns.ts';

/** Without patience. */
const maxAttempts = 3;
/** Without patience, a call fails at once when the store requests a longer pause than this. */
const maxRetryAfterMs = 5_000;

/**
 * Repeats a call after a transient error. It is the only layer that does so. CONTRIBUTING.md lists
 * the few places that send a call again for another reason ("Where to look").
 */
export type Retry = {
  /**
   * Runs `attempt` again after a failure, unless `isRetryable` says no or the signal has fired.
   *
   * For a caller with patience (a first mount) it runs until the patience ends. It waits for its
   * turn among all such callers of the endpoint; see `RetryTurns`. A pause that the store requests
   * (`retryAfterMs` of the error) comes before; if it is longer than the patience, the call fails
   * at once.
   *
   * For other callers it runs up to three times. It stops when the endpoint or the namespace has no
   * retries left (`RetryBudget`), and when the store requests a pause of more than 5 s.
   * @param endpoint names what fails as a whole: a host, or host:port
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
  /** The longest pause before the second attempt, in ms; doubled before each next. Default 100. */
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

/** All pauses have full jitter: a random time between 0 and the longest pause. */
export function createRetry(options: RetryOptions = {}): Retry {
  const { random = Math.random, baseMs = 100, capMs = 2_000, onFailedAttempt } = options;
  const budget = new RetryBudget();
  const turns = new RetryTurns({ random, baseMs, capMs });

  /** Waits for the next attempt of a caller with patience. @throws `error` if it does not come */
  async function waitForTurn(
    endpoint: string,
    error: SecretError,
    signal: AbortSignal,
  ): Promise<void> {
    const { namespace, patience } = currentCaller();
    const { retryAfterMs = 0 } = error;
    if (retryAfterMs >= patience()) throw error;
    await withTimeout(
      patience(),
      signal,
      () => error,
      async (waitSignal) => {
        if (retryAfterMs > 0) await delay(retryAfterMs, waitSignal);
        await turns.wait(endpoint, namespace, waitSignal);
      },
    );
  }

  /** Waits for the next attempt of another caller. @throws `error` if it does not come */
  async function pause(
    endpoint: string,
    error: SecretError,
    attemptNumber: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { retryAfterMs = 0 } = error;
    if (attemptNumber === maxAttempts || retryAfterMs > maxRetryAfterMs) throw error;
    if (!budget.spend(endpoint, currentCaller().namespace)) throw error;
    const backoffMs = random() * Math.min(capMs, baseMs * 2 ** (attemptNumber - 1));
    await delay(retryAfterMs + backoffMs, signal);
  }

  return {
    async run(endpoint, signal, attempt, isRetryable = isTransient) {
      signal.throwIfAborted();
      const { namespace, patience } = currentCaller();
      const isPatient = patience() > 0;
      budget.earn(endpoint, namespace);
      for (let attemptNumber = 1; ; attemptNumber += 1) {
        try {
          const result = await attempt(attemptNumber);
          turns.recordSuccess(endpoint);
          return result;
        } catch (thrown) {
          if (!(thrown instanceof SecretError)) throw thrown;
          onFailedAttempt?.(thrown);
          if (signal.aborted || !isRetryable(thrown)) throw thrown;
          if (isPatient) await waitForTurn(endpoint, thrown, signal);
          else await pause(endpoint, thrown, attemptNumber, signal);
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
