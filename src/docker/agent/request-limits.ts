import { withTimeout } from '../../concurrency/deadline.ts';
import { SecretError } from '../../core/errors.ts';
import type { DeliverContext } from '../delivery/deliver.ts';

/** Bounds the requests of an agent: each by its time, and all by the agent's end. */
export class RequestLimits {
  readonly #now: () => number;
  readonly #inFlight = new Set<Promise<unknown>>();
  readonly #stop = new AbortController();

  /** @param now milliseconds since the epoch */
  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Runs work that reads secrets.
   * @param signal of the caller. Default: only the agent's end stops it
   * @throws SecretError DEADLINE after `ms` milliseconds, SHUTTING_DOWN, the signal's reason
   */
  async run<T>(
    ms: number,
    signal: AbortSignal | undefined,
    work: (context: DeliverContext) => Promise<T>,
  ): Promise<T> {
    const deadline = this.#now() + ms;
    const stop = this.#stop.signal;
    const either = signal === undefined ? stop : AbortSignal.any([signal, stop]);
    return withTimeout(
      ms,
      either,
      () => tooSlow(ms),
      (limited) => work({ signal: limited, deadline }),
    );
  }

  /** {@link drain} waits for this work. */
  track<T>(work: Promise<T>): Promise<T> {
    this.#inFlight.add(work);
    const remove = (): void => void this.#inFlight.delete(work);
    work.then(remove, remove);
    return work;
  }

  /** Waits for the tracked work. What takes longer than `graceMs` fails. */
  async drain(graceMs: number): Promise<void> {
    const timer = setTimeout(() => this.#stop.abort(shuttingDown()), graceMs);
    await Promise.allSettled([...this.#inFlight]);
    clearTimeout(timer);
    this.#stop.abort(shuttingDown());
    await Promise.allSettled([...this.#inFlight]);
  }
}

function tooSlow(ms: number): SecretError {
  return new SecretError('DEADLINE', `the secrets were not read within ${ms / 1_000} s`, {
    hint: 'check that this host reaches the store: docker dso system doctor',
  });
}

function shuttingDown(): SecretError {
  return new SecretError('SHUTTING_DOWN', 'the agent of docker dso stops', {
    hint: 'start the container again when the agent runs',
  });
}
