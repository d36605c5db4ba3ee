import { WaitQueue } from './wait-queue.ts';

/** All requests share one queue: requests are served in order of arrival, whatever their size. */
const sharedQueue = '';

/**
 * Bounds the memory in use at one time, for example by responses that are being built. A request
 * for more than `maxBytes` counts as `maxBytes`: it waits until no other memory is in use.
 */
export class MemoryLimiter {
  readonly #maxBytes: number;
  readonly #queue = new WaitQueue<number>({ onAbort: () => this.#resumeWaiters() });
  #usedBytes = 0;

  constructor({ maxBytes }: { readonly maxBytes: number }) {
    this.#maxBytes = maxBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /**
   * Reserves `bytes` if they fit now and no other request waits. Otherwise returns undefined.
   * See {@link MemoryLimiter.acquire} for the returned function.
   */
  tryAcquire(bytes: number): (() => void) | undefined {
    const cappedBytes = Math.min(bytes, this.#maxBytes);
    if (this.#queue.size > 0 || this.#usedBytes + cappedBytes > this.#maxBytes) return undefined;
    this.#usedBytes += cappedBytes;
    return this.#createRelease(cappedBytes);
  }

  /**
   * Waits until `bytes` fit and reserves them, in order of arrival. The returned function releases
   * them; a second call has no effect.
   * @throws the signal's reason if the signal fires first
   */
  async acquire(bytes: number, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const release = this.tryAcquire(bytes);
    if (release !== undefined) return release;
    const cappedBytes = Math.min(bytes, this.#maxBytes);
    await this.#queue.wait(sharedQueue, signal, cappedBytes);
    return this.#createRelease(cappedBytes);
  }

  /** Reserves the memory of each waiter before it resumes, so that no later request takes it. */
  #resumeWaiters(): void {
    let bytes = this.#queue.peek();
    while (bytes !== undefined && this.#usedBytes + bytes <= this.#maxBytes) {
      this.#usedBytes += bytes;
      this.#queue.resumeNext();
      bytes = this.#queue.peek();
    }
  }

  #createRelease(bytes: number): () => void {
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#usedBytes -= bytes;
      this.#resumeWaiters();
    };
  }
}
