import { SecretError } from '../errors/secret-error.ts';
import { createFairQueue } from './fair-queue.ts';

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
  const all = createGate(limit, maxQueue);
  const byNamespace = new Map<string, Gate>();

  function gateOf(namespace: string): Gate {
    let gate = byNamespace.get(namespace);
    if (gate === undefined) byNamespace.set(namespace, (gate = createGate(half, quarter)));
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

/** So many may be inside, so many may wait for it. */
type Gate = {
  readonly inside: number;
  readonly waiting: number;
  readonly isFull: boolean;
  enterAtOnce(): void;
  enter(namespace: string, signal: AbortSignal): Promise<void>;
  leave(): void;
};

function createGate(limit: number, maxQueue: number): Gate {
  const queue = createFairQueue<() => void>();
  let inside = 0;
  return {
    get inside() {
      return inside;
    },
    get waiting() {
      return queue.size;
    },
    get isFull() {
      return inside >= limit;
    },
    enterAtOnce() {
      inside += 1;
    },
    async enter(namespace, signal) {
      signal.throwIfAborted();
      if (inside < limit) {
        inside += 1;
        return;
      }
      if (queue.size >= maxQueue) throw overloaded(inside, queue.size);
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
    },
    leave() {
      // The place goes straight to the next: nobody who comes in between gets ahead.
      const next = queue.shift();
      if (next === undefined) inside -= 1;
      else next();
    },
  };
}

function overloaded(inside: number, waiting: number): SecretError {
  return new SecretError('OVERLOADED', `${inside} mounts are under way and ${waiting} wait`, {
    hint: 'the kubelet tries again; if it stays so, look at what the mounts wait for in the metrics',
  });
}
