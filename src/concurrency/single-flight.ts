import { SecretError } from '../core/errors.ts';
import { currentCaller, outlasts } from './caller.ts';
import { raceWithAbort } from './deadline.ts';

/**
 * A call whose result several callers wait for. `work` starts at once, under a signal that fires
 * when the last caller has left.
 */
export class SharedCall<T> {
  /** On whose behalf the call was started. */
  readonly starter = currentCaller();
  readonly #controller = new AbortController();
  readonly #result: Promise<T>;
  #waiters = 0;
  #completed = false;

  constructor(work: (signal: AbortSignal) => Promise<T>) {
    this.#result = work(this.#controller.signal);
    const markCompleted = (): void => {
      this.#completed = true;
    };
    // This also handles a rejection that comes after all callers have left.
    this.#result.then(markCompleted, markCompleted);
  }

  /**
   * All callers left before the call completed. It is being cancelled, so no caller may join it.
   */
  get abandoned(): boolean {
    return this.#controller.signal.aborted;
  }

  /** Waits for the result. @throws the signal's reason if the signal fires first */
  async join(signal: AbortSignal): Promise<T> {
    this.#waiters += 1;
    try {
      return await raceWithAbort(this.#result, signal);
    } finally {
      this.#waiters -= 1;
      if (this.#waiters === 0 && !this.#completed)
        this.#controller.abort(new SecretError('CANCELLED', 'no caller waits for this any more'));
    }
  }
}

/**
 * Runs at most one call per key at a time. Callers that come while a call is in flight share its
 * result, including its failure. Only an outage does not count for a caller that has more patience
 * than the one that started the call.
 */
export class SingleFlight<T> {
  readonly #calls = new Map<string, SharedCall<T>>();

  /** Joins the call in flight for `key`, or starts `work` as a new one. */
  async run(
    key: string,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    for (;;) {
      signal.throwIfAborted();
      const inFlightCall = this.#calls.get(key);
      if (inFlightCall === undefined || inFlightCall.abandoned) break;
      try {
        return await inFlightCall.join(signal);
      } catch (thrown) {
        if (signal.aborted || !isOutage(thrown)) throw thrown;
        if (!outlasts(currentCaller().patience, inFlightCall.starter.patience)) throw thrown;
      }
    }
    const call = new SharedCall(async (callSignal) => {
      try {
        return await work(callSignal);
      } finally {
        if (this.#calls.get(key) === call) this.#calls.delete(key);
      }
    });
    this.#calls.set(key, call);
    return call.join(signal);
  }
}

function isOutage(thrown: unknown): boolean {
  return thrown instanceof SecretError && thrown.kind === 'outage';
}
