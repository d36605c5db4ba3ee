/** Room in memory: see {@link createRoom}. */
export type Room = {
  /** Takes so many bytes if they fit now and nobody waits for others; undefined where not. See {@link Room.take}. */
  takeAtOnce(bytes: number): (() => void) | undefined;
  /**
   * Waits until so many bytes fit and takes them, in order of arrival. The function it answers with gives them back; calling it again does nothing.
   * @throws the signal's reason where it fires first
   */
  take(bytes: number, signal: AbortSignal): Promise<() => void>;
  readonly taken: number;
};

/** Bounds what is in memory at a time, such as responses in the making. What is larger than all the room waits until it has the room for itself. */
export function createRoom(maxBytes: number): Room {
  const queue = new Set<{ readonly bytes: number; readonly go: () => void }>();
  let taken = 0;

  function admit(): void {
    for (const next of queue) {
      if (taken + next.bytes > maxBytes) return;
      queue.delete(next);
      next.go();
    }
  }

  function occupy(bytes: number): () => void {
    let given = false;
    taken += bytes;
    return () => {
      if (given) return;
      given = true;
      taken -= bytes;
      admit();
    };
  }

  function takeAtOnce(wanted: number): (() => void) | undefined {
    const bytes = Math.min(wanted, maxBytes);
    return queue.size === 0 && taken + bytes <= maxBytes ? occupy(bytes) : undefined;
  }

  return {
    get taken() {
      return taken;
    },
    takeAtOnce,
    async take(wanted, signal) {
      signal.throwIfAborted();
      const leaveRoom = takeAtOnce(wanted);
      if (leaveRoom !== undefined) return leaveRoom;
      return new Promise((resolve, reject) => {
        const bytes = Math.min(wanted, maxBytes);
        const waiter = {
          bytes,
          go: () => {
            signal.removeEventListener('abort', leave);
            resolve(occupy(bytes));
          },
        };
        const leave = (): void => {
          queue.delete(waiter);
          admit();
          reject(signal.reason as Error);
        };
        queue.add(waiter);
        signal.addEventListener('abort', leave, { once: true });
      });
    },
  };
}
