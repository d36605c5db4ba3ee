import type { SecretError } from '../core/errors.ts';

/**
 * Resolves as `promise` does, unless `signal` fires first: then it rejects with the signal's
 * reason. The promise itself continues, and its owner has to supervise it.
 */
export async function raceWithAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let removeListener = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    // Keyferry aborts its own signals with a SecretError.
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    removeListener = () => signal.removeEventListener('abort', onAbort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    removeListener();
  }
}

/**
 * Runs `work` under a signal that also fires after `ms` milliseconds, with the SecretError that
 * `onTimeout` makes. It rejects as soon as the signal fires, even if `work` ignores the signal.
 */
export async function withTimeout<T>(
  ms: number,
  signal: AbortSignal,
  onTimeout: () => SecretError,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  // If work started now and failed, its rejection would be unhandled.
  signal.throwIfAborted();
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(onTimeout()), ms);
  timer.unref();
  const combinedSignal = AbortSignal.any([signal, timeout.signal]);
  try {
    return await raceWithAbort(work(combinedSignal), combinedSignal);
  } finally {
    clearTimeout(timer);
  }
}
