import { SecretError } from '../core/errors.ts';
import { type FairQueue, createFairQueue } from './fair-queue.ts';

/** Bounded concurrency: see {@link createTurns}. */
export type Turns = {
  /**
   * Waits for a turn and takes it. The function it answers with gives the turn back; calling it again does nothing.
   * @throws SecretError OVERLOADED at once where too many wait; the signal's reason where it fires first.
   */
  take(namespace: string, signal: AbortSignal): Promise<() => void>;
  /** A turn, where one is free for the namespace. */
  takeAtOnce(namespace: string): (() => void) | undefined;
  readonly taken: number;
  readonly waiting: number;
};

/**
 * At most `limit` turns are out at a time and `maxQueue` wait, fairly between namespaces: none waits behind another's crowd, and none holds more than
 * half of the turns or a quarter of the queue, so that mounts of one that hang leave room for the rest.
 */
export function createTurns({ limit, maxQueue }: { limit: number; maxQueue: number }): Turns {
  const half = Math.ceil(limit / 2);
  const quarter = Math.ceil(maxQueue / 4);
  const all = new Gate(limit, maxQueue);
  const byNamespace = new Map<string, Gate>();

  function gateOf(namespace: string): Gate {
    let gate = byNamespace.get(namespace);
    if (gate === undefined) byNamespace.set(namespace, (gate = new Gate(half, quarter)));
    return gate;
  }

  function giveBack(namespace: string, gate: Gate): () => void {
    let given = false;
    return () => {
      if (given) return;
      given = true;
      all.leave();
      leave(namespace, gate);
    };
  }

  function leave(namespace: string, gate: Gate): void {
    gate.leave();
    if (gate.inside === 0) byNamespace.delete(namespace);
  }

  return {
    get taken() {
      return all.inside;
    },
    get waiting() {
      return [...byNamespace.values()].reduce((sum, gate) => sum + gate.waiting, all.waiting);
    },
    takeAtOnce(namespace) {
      if (all.isFull) return undefined;
      const gate = gateOf(namespace);
      if (gate.isFull) return undefined;
      all.enterAtOnce();
      gate.enterAtOnce();
      return giveBack(namespace, gate);
    },
    async take(namespace, signal) {
      signal.throwIfAborted();
      const gate = gateOf(namespace);
      await gate.enter(namespace, signal);
      try {
        await all.enter(namespace, signal);
      } catch (error) {
        leave(namespace, gate);
        throw error;
      }
      return giveBack(namespace, gate);
    },
  };
}

/** So many may be inside, so many may wait for it. One is made for nearly every mount, and a class is: a literal with getters costs more than all else of it. */
class Gate {
  readonly #limit: number;
  readonly #maxQueue: number;
  #inside = 0;
  /** Made when somebody has to wait. */
  #queue: FairQueue<() => void> | undefined;

  constructor(limit: number, maxQueue: number) {
    this.#limit = limit;
    this.#maxQueue = maxQueue;
  }

  get inside(): number {
    return this.#inside;
  }

  get waiting(): number {
    return this.#queue?.size ?? 0;
  }

  get isFull(): boolean {
    return this.#inside >= this.#limit;
  }

  enterAtOnce(): void {
    this.#inside += 1;
  }

  async enter(namespace: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.isFull) return this.enterAtOnce();
    if (this.waiting >= this.#maxQueue) throw overloaded(this.#inside, this.waiting);
    const queue = (this.#queue ??= createFairQueue());
    await new Promise<void>((resolve, reject) => {
      const abandon = (): void => {
        queue.remove(namespace, go);
        reject(signal.reason as Error);
      };
      const go = (): void => {
        signal.removeEventListener('abort', abandon);
        resolve();
      };
      queue.push(namespace, go);
      signal.addEventListener('abort', abandon, { once: true });
    });
  }

  leave(): void {
    // The place goes straight to the next: nobody who comes in between gets ahead.
    const next = this.#queue?.shift();
    if (next === undefined) this.#inside -= 1;
    else next();
  }
}

function overloaded(inside: number, waiting: number): SecretError {
  return new SecretError('OVERLOADED', `${inside} mounts are under way and ${waiting} wait`, {
    hint: 'the kubelet tries again; if it stays so, look at what the mounts wait for in the metrics',
  });
}
