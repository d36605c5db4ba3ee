import type { SecretError } from '../errors/secret-error.ts';

/**
 * `promise`, unless `signal` fires first: then a rejection with the signal's reason. The promise itself goes on; whoever
 * owns it supervises it.
 */
export async function race<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    // The reason is a SecretError wherever the signal is ours.
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    stop = () => signal.removeEventListener('abort', onAbort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    stop();
  }
}

/**
 * Runs `work` under a signal that also fires after `ms` milliseconds, with a SecretError made by `onTimeout`. Answers as
 * soon as the signal fires, whether or not `work` heeds it.
 */
export async function withTimeout<T>(
  ms: number,
  signal: AbortSignal,
  onTimeout: () => SecretError,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  // Work that had begun would fail with nobody there to be told.
  signal.throwIfAborted();
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(onTimeout()), ms);
  timer.unref();
  const either = AbortSignal.any([signal, timeout.signal]);
  try {
    return await race(work(either), either);
  } finally {
    clearTimeout(timer);
  }
}
