/** Room in memory: see {@link createMemoryLimiter}. */
export type MemoryLimiter = {
  /** Takes so many bytes if they fit now and nobody waits for others; undefined where not. See {@link MemoryLimiter.acquire}. */
  tryAcquire(bytes: number): (() => void) | undefined;
  /**
   * Waits until so many bytes fit and takes them, in order of arrival. The function it answers with gives them back; calling it again does nothing.
   * @throws the signal's reason where it fires first
   */
  acquire(bytes: number, signal: AbortSignal): Promise<() => void>;
  readonly usedBytes: number;
};

/** Bounds what is in memory at a time, such as responses in the making. What is larger than all the room waits until it has the room for itself. */
export function createMemoryLimiter(maxBytes: number): MemoryLimiter {
  const queue = new Set<{ readonly bytes: number; readonly resume: () => void }>();
  let usedBytes = 0;

  function resumeWaiters(): void {
    for (const next of queue) {
      if (usedBytes + next.bytes > maxBytes) return;
      queue.delete(next);
      next.resume();
    }
  }

  function reserve(bytes: number): () => void {
    let released = false;
    usedBytes += bytes;
    return () => {
      if (released) return;
      released = true;
      usedBytes -= bytes;
      resumeWaiters();
    };
  }

  function tryAcquire(requestedBytes: number): (() => void) | undefined {
    const bytes = Math.min(requestedBytes, maxBytes);
    return queue.size === 0 && usedBytes + bytes <= maxBytes ? reserve(bytes) : undefined;
  }

  return {
    get usedBytes() {
      return usedBytes;
    },
    tryAcquire,
    async acquire(requestedBytes, signal) {
      signal.throwIfAborted();
      const release = tryAcquire(requestedBytes);
      if (release !== undefined) return release;
      return new Promise((resolve, reject) => {
        const bytes = Math.min(requestedBytes, maxBytes);
        const waiter = {
          bytes,
          resume: () => {
            signal.removeEventListener('abort', onAbort);
            resolve(reserve(bytes));
          },
        };
        const onAbort = (): void => {
          queue.delete(waiter);
          resumeWaiters();
          reject(signal.reason as Error);
        };
        queue.add(waiter);
        signal.addEventListener('abort', onAbort, { once: true });
      });
    },
  };
}
