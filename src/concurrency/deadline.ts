import type { SecretError } from '../core/errors.ts';

/**
 * Resolves as `promise` does, unless `signal` fires first: then it rejects with the signal's
 * reason. The promise itself continues, and its owner has to supervise it.
 */
export function raceWithAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    // Keyferry aborts its own signals with a SecretError.
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    const over =
      <A>(settle: (result: A) => void) =>
      (result: A): void => {
        signal.removeEventListener('abort', onAbort);
        settle(result);
      };
    // A mount of many secrets races often: this makes one more promise, and `finally` two.
    promise.then(over(resolve), over(reject));
  });
}

/**
 * A controller whose signal also fires with `signal`. `AbortSignal.any` does the same, but it needs
 * weak references, whose cost in CPU time and memory was measured.
 * @returns `unlink` is to be called when the signal is no longer used
 */
export function linkedController(signal: AbortSignal): {
  readonly controller: AbortController;
  readonly unlink: () => void;
} {
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(signal.reason);
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  return { controller, unlink: () => signal.removeEventListener('abort', onAbort) };
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
  const { controller, unlink } = linkedController(signal);
  const timer = setTimeout(() => controller.abort(onTimeout()), ms);
  timer.unref();
  try {
    return await raceWithAbort(work(controller.signal), controller.signal);
  } finally {
    clearTimeout(timer);
    unlink();
  }
}
