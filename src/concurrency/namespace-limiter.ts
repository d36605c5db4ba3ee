import { SecretError } from '../core/errors.ts';
import { WaitQueue } from './wait-queue.ts';

/**
 * Bounds concurrency, fairly between namespaces. At most `limit` slots are in use and at most
 * `maxQueue` callers wait. One namespace gets at most half of the slots and a quarter of the queue,
 * so that its hanging mounts leave capacity for the other namespaces.
 */
export class NamespaceLimiter {
  readonly #namespaceLimit: number;
  readonly #namespaceMaxQueue: number;
  readonly #total: Semaphore;
  readonly #byNamespace = new Map<string, Semaphore>();

  constructor({ limit, maxQueue }: { readonly limit: number; readonly maxQueue: number }) {
    this.#namespaceLimit = Math.ceil(limit / 2);
    this.#namespaceMaxQueue = Math.ceil(maxQueue / 4);
    this.#total = new Semaphore(limit, maxQueue);
  }

  get activeCount(): number {
    return this.#total.activeCount;
  }

  get waiting(): number {
    let waiting = this.#total.waiting;
    for (const semaphore of this.#byNamespace.values()) waiting += semaphore.waiting;
    return waiting;
  }

  /** Acquires a slot if one is free for the namespace. Otherwise returns undefined. */
  tryAcquire(namespace: string): (() => void) | undefined {
    if (this.#total.isFull) return undefined;
    const semaphore = this.#semaphoreOf(namespace);
    if (semaphore.isFull) return undefined;
    this.#total.acquireUnchecked();
    semaphore.acquireUnchecked();
    return this.#createRelease(namespace, semaphore);
  }

  /**
   * Waits for a slot and acquires it. The returned function releases the slot; a second call has no
   * effect.
   * @throws SecretError OVERLOADED at once if the queue is full; the signal's reason if the signal
   *   fires first
   */
  async acquire(namespace: string, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const semaphore = this.#semaphoreOf(namespace);
    await semaphore.acquire(namespace, signal);
    try {
      await this.#total.acquire(namespace, signal);
    } catch (error) {
      this.#releaseNamespace(namespace, semaphore);
      throw error;
    }
    return this.#createRelease(namespace, semaphore);
  }

  #semaphoreOf(namespace: string): Semaphore {
    let semaphore = this.#byNamespace.get(namespace);
    if (semaphore === undefined) {
      semaphore = new Semaphore(this.#namespaceLimit, this.#namespaceMaxQueue);
      this.#byNamespace.set(namespace, semaphore);
    }
    return semaphore;
  }

  #createRelease(namespace: string, semaphore: Semaphore): () => void {
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#total.release();
      this.#releaseNamespace(namespace, semaphore);
    };
  }

  #releaseNamespace(namespace: string, semaphore: Semaphore): void {
    semaphore.release();
    if (semaphore.activeCount === 0) this.#byNamespace.delete(namespace);
  }
}

/** A counting semaphore with a bounded queue. Nearly every mount makes one, so it is kept small. */
class Semaphore {
  readonly #limit: number;
  readonly #maxQueue: number;
  #activeCount = 0;
  /** Made when the first caller has to wait. */
  #queue: WaitQueue | undefined;

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
    if (this.waiting >= this.#maxQueue) throw overloadedError();
    this.#queue ??= new WaitQueue();
    await this.#queue.wait(namespace, signal, undefined);
  }

  release(): void {
    // The slot passes directly to the next waiter, so a caller that comes later cannot take it.
    if (this.#queue?.resumeNext() !== true) this.#activeCount -= 1;
  }
}

function overloadedError(): SecretError {
  return new SecretError('OVERLOADED', 'too many mounts wait', {
    hint: 'the kubelet tries again; if this continues, see in the metrics what the mounts wait for',
  });
}
