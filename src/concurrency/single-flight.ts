import { SecretError } from '../core/errors.ts';

/**
 * `promise`, unless `signal` fires first: then a rejection with the signal's reason. The promise itself goes on; whoever
 * owns it supervises it.
 */
export async function raceWithAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let removeListener = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    // The reason is a SecretError wherever the signal is ours.
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
  const combinedSignal = AbortSignal.any([signal, timeout.signal]);
  try {
    return await raceWithAbort(work(combinedSignal), combinedSignal);
  } finally {
    clearTimeout(timer);
  }
}

/** Work that several wait for. It is aborted only when the last of them has left. */
export type SharedCall<T> = {
  /** The result, or the signal's reason where it fires first. */
  join(signal: AbortSignal): Promise<T>;
  /** Everybody left before it ended: its result must not be waited for. */
  readonly abandoned: boolean;
};

/** Starts `work` at once, under a signal that fires when the last waiter has left. */
export function createSharedCall<T>(work: (signal: AbortSignal) => Promise<T>): SharedCall<T> {
  const controller = new AbortController();
  const result = work(controller.signal);
  // Waiters may all have left by the time it fails; then nobody is to be told.
  result.catch(() => undefined);
  let waiters = 0;
  let settled = false;
  const markSettled = (): void => {
    settled = true;
  };
  result.then(markSettled, markSettled);
  return {
    get abandoned() {
      return controller.signal.aborted;
    },
    async join(signal) {
      waiters += 1;
      try {
        return await raceWithAbort(result, signal);
      } finally {
        waiters -= 1;
        if (waiters === 0 && !settled)
          controller.abort(new SecretError('CANCELLED', 'nobody waits for this any more'));
      }
    },
  };
}

/** See {@link createSingleFlight}. */
export type SingleFlight<T> = {
  /** Joins the flight under way for `key`, or starts `work` as a new one. */
  run(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
};

/** At most one flight a key; callers that come while it is under way share its result, failures included. */
export function createSingleFlight<T>(): SingleFlight<T> {
  const calls = new Map<string, SharedCall<T>>();
  return {
    async run(key, signal, work) {
      signal.throwIfAborted();
      const running = calls.get(key);
      if (running !== undefined && !running.abandoned) return running.join(signal);
      const call = createSharedCall(async (callSignal) => {
        try {
          return await work(callSignal);
        } finally {
          if (calls.get(key) === call) calls.delete(key);
        }
      });
      calls.set(key, call);
      return call.join(signal);
    },
  };
}
