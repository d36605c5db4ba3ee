import { SecretError } from '../core/errors.ts';
import { WaitQueue } from './wait-queue.ts';

/**
 * A namespace may have this many places for each free one. So one namespace alone has at most three
 * quarters of all places.
 */
const placesForEachFreeOne = 3;

/** See {@link FairPlaces}. */
export type FairPlacesOptions = {
  /** What the places belong to, for messages: `vault:8200`. */
  readonly name: string;
  /** How many places there are; at least 1. */
  readonly limit: number;
  /** How many callers may wait; of one namespace at most a quarter. Default 10,000. */
  readonly maxQueue?: number;
};

/**
 * Shares places between namespaces. A slow call cannot be interrupted, so some places stay free for
 * a namespace that has no place yet. The threshold is dynamic (Choudhury and Hahne, "Dynamic queue
 * length thresholds", 1998): a namespace gets a place while it has fewer than three times as many
 * as are free. Of 100 places, one busy namespace has 75, each of two 43, each of ten 10. A
 * namespace without a place gets any free one. Namespaces that wait take turns.
 */
export class FairPlaces {
  readonly #options: FairPlacesOptions;
  readonly #queue = new WaitQueue();
  readonly #takenByNamespace = new Map<string, number>();
  #free: number;

  constructor(options: FairPlacesOptions) {
    this.#options = options;
    this.#free = options.limit;
  }

  /** No place is taken, so no caller waits either. */
  get isIdle(): boolean {
    return this.#free === this.#options.limit;
  }

  /**
   * Waits for a place and takes it.
   * @returns gives the place back; to be called once
   * @throws SecretError RATE_BUDGET_EXHAUSTED at once if the queue is full; the signal's reason if
   *   the signal fires first
   */
  async acquire(namespace: string, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#mayTake(namespace)) this.#take(namespace);
    else {
      this.#throwIfFull(namespace);
      await this.#queue.wait(namespace, signal, undefined);
    }
    return () => this.#release(namespace);
  }

  #mayTake(namespace: string): boolean {
    const taken = this.#takenByNamespace.get(namespace) ?? 0;
    return taken < placesForEachFreeOne * this.#free;
  }

  #take(namespace: string): void {
    this.#free -= 1;
    this.#takenByNamespace.set(namespace, (this.#takenByNamespace.get(namespace) ?? 0) + 1);
  }

  #release(namespace: string): void {
    this.#free += 1;
    const taken = (this.#takenByNamespace.get(namespace) ?? 0) - 1;
    if (taken > 0) this.#takenByNamespace.set(namespace, taken);
    else this.#takenByNamespace.delete(namespace);
    this.#dispatch();
  }

  #dispatch(): void {
    for (;;) {
      const next = this.#queue.findNamespace((namespace) => this.#mayTake(namespace));
      if (next === undefined) return;
      this.#take(next);
      this.#queue.resumeNext(next);
    }
  }

  #throwIfFull(namespace: string): void {
    const { name, maxQueue = 10_000 } = this.#options;
    const { size } = this.#queue;
    if (size < maxQueue && this.#queue.sizeOf(namespace) < maxQueue / 4) return;
    throw new SecretError(
      'RATE_BUDGET_EXHAUSTED',
      `too many calls wait for a connection to ${name}`,
      { hint: `${name} responds slowly: look for what it waits for, such as a database` },
    );
  }
}
