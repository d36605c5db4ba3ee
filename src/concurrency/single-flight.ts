import { SecretError } from '../core/errors.ts';

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

/** Work that several wait for. It is aborted only when the last of them has left. */
export type Flight<T> = {
  /** The result, or the signal's reason where it fires first. */
  join(signal: AbortSignal): Promise<T>;
  /** Everybody left before it ended: its result must not be waited for. */
  readonly abandoned: boolean;
};

/** Starts `work` at once, under a signal that fires when the last waiter has left. */
export function createFlight<T>(work: (signal: AbortSignal) => Promise<T>): Flight<T> {
  const controller = new AbortController();
  const result = work(controller.signal);
  // Waiters may all have left by the time it fails; then nobody is to be told.
  result.catch(() => undefined);
  let waiters = 0;
  let settled = false;
  const settle = (): void => {
    settled = true;
  };
  result.then(settle, settle);
  return {
    get abandoned() {
      return controller.signal.aborted;
    },
    async join(signal) {
      waiters += 1;
      try {
        return await race(result, signal);
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
  const flights = new Map<string, Flight<T>>();
  return {
    async run(key, signal, work) {
      signal.throwIfAborted();
      const running = flights.get(key);
      if (running !== undefined && !running.abandoned) return running.join(signal);
      const flight = createFlight(async (flightSignal) => {
        try {
          return await work(flightSignal);
        } finally {
          if (flights.get(key) === flight) flights.delete(key);
        }
      });
      flights.set(key, flight);
      return flight.join(signal);
    },
  };
}
