import { SecretError } from '../errors/secret-error.ts';
import { createFairQueue } from './fair-queue.ts';

/** Bounded concurrency: see {@link createTurns}. */
export type Turns = {
  /**
   * Waits for a turn and takes it. The function it answers with gives the turn back; calling it again does nothing.
   * @throws SecretError OVERLOADED at once where the queue is full; the signal's reason where it fires first.
   */
  take(namespace: string, signal: AbortSignal): Promise<() => void>;
  /** A turn, where one is free. */
  takeAtOnce(): (() => void) | undefined;
  readonly taken: number;
  readonly waiting: number;
};

/** At most `limit` turns are out at a time and `maxQueue` wait, fairly between namespaces: none waits behind another's crowd. */
export function createTurns({ limit, maxQueue }: { limit: number; maxQueue: number }): Turns {
  const queue = createFairQueue<() => void>();
  let taken = 0;

  function turn(): () => void {
    let given = false;
    taken += 1;
    return () => {
      if (given) return;
      given = true;
      taken -= 1;
      queue.shift()?.();
    };
  }

  return {
    get taken() {
      return taken;
    },
    get waiting() {
      return queue.size;
    },
    takeAtOnce: () => (taken < limit ? turn() : undefined),
    async take(namespace, signal) {
      signal.throwIfAborted();
      if (taken < limit) return turn();
      if (queue.size >= maxQueue) {
        throw new SecretError('OVERLOADED', `${taken} mounts are under way and ${queue.size} wait`, {
          hint: 'the kubelet tries again; if it stays so, look at what the mounts wait for in the metrics',
        });
      }
      return new Promise((resolve, reject) => {
        const leave = (): void => {
          queue.remove(namespace, go);
          reject(signal.reason as Error);
        };
        const go = (): void => {
          signal.removeEventListener('abort', leave);
          resolve(turn());
        };
        queue.push(namespace, go);
        signal.addEventListener('abort', leave, { once: true });
      });
    },
  };
}
