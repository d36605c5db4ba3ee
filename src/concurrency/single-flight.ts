import { SecretError } from '../core/errors.ts';
import { currentCaller, outlasts } from './caller.ts';
import { raceWithAbort } from './deadline.ts';

/** Why a call is cancelled that no caller waits for. */
export const abandonedReason = new SecretError('CANCELLED', 'no caller waits for this any more');

/**
 * A call whose result several callers wait for. `work` starts at once. Its controller aborts when
 * the last caller has left, with {@link abandonedReason}; `work` may abort it sooner.
 */
export class SharedCall<T> {
  /** On whose behalf the call was started. */
  readonly starter = currentCaller();
  readonly #controller = new AbortController();
  readonly #result: Promise<T>;
  #waiters = 0;
  #completed = false;

  constructor(work: (controller: AbortController) => Promise<T>) {
    this.#result = work(this.#controller);
    const markCompleted = (): void => {
      this.#completed = true;
    };
    // This also handles a rejection that comes after all callers have left.
    this.#result.then(markCompleted, markCompleted);
  }

  /** It is being cancelled, so no caller may join it. */
  get isCancelled(): boolean {
    return this.#controller.signal.aborted;
  }

  /** Waits for the result. @throws the signal's reason if the signal fires first */
  async join(signal: AbortSignal): Promise<T> {
    this.#waiters += 1;
    try {
      return await raceWithAbort(this.#result, signal);
    } finally {
      this.#waiters -= 1;
      if (this.#waiters === 0 && !this.#completed) this.#controller.abort(abandonedReason);
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
      if (inFlightCall === undefined || inFlightCall.isCancelled) break;
      try {
        return await inFlightCall.join(signal);
      } catch (thrown) {
        if (signal.aborted || !isOutage(thrown)) throw thrown;
        if (!outlasts(currentCaller().patience, inFlightCall.starter.patience)) throw thrown;
      }
    }
    const call = new SharedCall(async (controller) => {
      try {
        return await work(controller.signal);
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
