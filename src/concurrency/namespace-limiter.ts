import { SecretError } from '../core/errors.ts';
import { type FairQueue, createFairQueue } from './fair-queue.ts';

/** Bounded concurrency: see {@link createNamespaceLimiter}. */
export type NamespaceLimiter = {
  /**
   * Waits for a turn and takes it. The function it answers with gives the turn back; calling it again does nothing.
   * @throws SecretError OVERLOADED at once where too many wait; the signal's reason where it fires first.
   */
  acquire(namespace: string, signal: AbortSignal): Promise<() => void>;
  /** A turn, where one is free for the namespace. */
  tryAcquire(namespace: string): (() => void) | undefined;
  readonly activeCount: number;
  readonly waiting: number;
};

/**
 * At most `limit` turns are out at a time and `maxQueue` wait, fairly between namespaces: none waits behind another's crowd, and none holds more than
 * half of the turns or a quarter of the queue, so that mounts of one that hang leave room for the rest.
 */
export function createNamespaceLimiter({
  limit,
  maxQueue,
}: {
  limit: number;
  maxQueue: number;
}): NamespaceLimiter {
  const namespaceLimit = Math.ceil(limit / 2);
  const namespaceMaxQueue = Math.ceil(maxQueue / 4);
  const total = new Semaphore(limit, maxQueue);
  const byNamespace = new Map<string, Semaphore>();

  function semaphoreOf(namespace: string): Semaphore {
    let semaphore = byNamespace.get(namespace);
    if (semaphore === undefined)
      byNamespace.set(namespace, (semaphore = new Semaphore(namespaceLimit, namespaceMaxQueue)));
    return semaphore;
  }

  function createRelease(namespace: string, semaphore: Semaphore): () => void {
    let released = false;
    return () => {
      if (released) return;
      released = true;
      total.release();
      releaseNamespace(namespace, semaphore);
    };
  }

  function releaseNamespace(namespace: string, semaphore: Semaphore): void {
    semaphore.release();
    if (semaphore.activeCount === 0) byNamespace.delete(namespace);
  }

  return {
    get activeCount() {
      return total.activeCount;
    },
    get waiting() {
      return [...byNamespace.values()].reduce(
        (sum, semaphore) => sum + semaphore.waiting,
        total.waiting,
      );
    },
    tryAcquire(namespace) {
      if (total.isFull) return undefined;
      const semaphore = semaphoreOf(namespace);
      if (semaphore.isFull) return undefined;
      total.acquireUnchecked();
      semaphore.acquireUnchecked();
      return createRelease(namespace, semaphore);
    },
    async acquire(namespace, signal) {
      signal.throwIfAborted();
      const semaphore = semaphoreOf(namespace);
      await semaphore.acquire(namespace, signal);
      try {
        await total.acquire(namespace, signal);
      } catch (error) {
        releaseNamespace(namespace, semaphore);
        throw error;
      }
      return createRelease(namespace, semaphore);
    },
  };
}

/** So many may be inside, so many may wait for it. One is made for nearly every mount, and a class is: a literal with getters costs more than all else of it. */
class Semaphore {
  readonly #limit: number;
  readonly #maxQueue: number;
  #activeCount = 0;
  /** Made when somebody has to wait. */
  #queue: FairQueue<() => void> | undefined;

  constructor(limit: number, maxQueue: number) {
    this.#limit = limit;
    this.#maxQueue = maxQueue;
  }

  get activeCount(): number {
    return this.#activeCount;
  }

  get waiting(): number {
    return this.#queue?.size ?? 0;
  }

  get isFull(): boolean {
    return this.#activeCount >= this.#limit;
  }

  acquireUnchecked(): void {
    this.#activeCount += 1;
  }

  async acquire(namespace: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.isFull) return this.acquireUnchecked();
    if (this.waiting >= this.#maxQueue) throw overloadedError(this.#activeCount, this.waiting);
    const queue = (this.#queue ??= createFairQueue());
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        queue.remove(namespace, resume);
        reject(signal.reason as Error);
      };
      const resume = (): void => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      queue.push(namespace, resume);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  release(): void {
    // The place goes straight to the next: nobody who comes in between gets ahead.
    const next = this.#queue?.shift();
    if (next === undefined) this.#activeCount -= 1;
    else next();
  }
}

function overloadedError(activeCount: number, waiting: number): SecretError {
  return new SecretError('OVERLOADED', `${activeCount} mounts are under way and ${waiting} wait`, {
    hint: 'the kubelet tries again; if it stays so, look at what the mounts wait for in the metrics',
  });
}
