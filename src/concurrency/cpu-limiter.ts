import { LRUCache } from 'lru-cache';
import { setTimeout as sleep } from 'node:timers/promises';

/** Work that holds up everybody else's mounts while it runs, rationed: see {@link createCpuLimiter}. */
export type CpuLimiter = {
  /**
   * Does the work: at once, or where its namespace has had more than its share when it has earned the next piece.
   * @throws what the work throws; the signal's reason where it fires while it waits. `waiter.signal` is looked at only then.
   */
  run<T>(namespace: string, waiter: { readonly signal: AbortSignal }, work: () => T): Promise<T>;
};

/** What a namespace has had too much, in milliseconds, as it stood `at` that moment. */
type Overuse = { readonly ms: number; readonly at: number };

/**
 * There is one thread, and a pod can ask for some 200 ms of it (large classes, slow expressions); a hundred pods of one tenant then stop all others
 * for 20 s. So a namespace may use `burstMs` at once and `share` of the time in the long run: so little that the 99th of a hundred mounts of another
 * one does not notice. Pieces shorter than `freeMs`, all that ordinary classes need, are not counted, nor is time in which the process stood still.
 */
export function createCpuLimiter({
  now = (): number => performance.now(),
  cpu = processCpuMs,
  cpuFraction = 0.005,
  burstMs = 250,
  uncountedMs = 5,
} = {}): CpuLimiter {
  const overuseByNamespace = new LRUCache<string, Overuse>({ max: 1_000 });

  function overuseOf(namespace: string): number {
    const overuse = overuseByNamespace.get(namespace);
    return overuse === undefined ? 0 : Math.max(0, overuse.ms - (now() - overuse.at) * cpuFraction);
  }

  return {
    async run(namespace, waiter, work) {
      for (
        let excessMs = overuseOf(namespace) - burstMs;
        excessMs > 0;
        excessMs = overuseOf(namespace) - burstMs
      ) {
        const { signal } = waiter;
        await sleep(Math.min(excessMs / cpuFraction, 1_000), undefined, { signal }).catch(
          () => undefined,
        );
        signal.throwIfAborted();
      }
      const [startedAt, cpuBefore] = [now(), cpu()];
      try {
        return work();
      } finally {
        const usedMs = now() - startedAt > uncountedMs ? cpu() - cpuBefore : 0;
        if (usedMs > uncountedMs)
          overuseByNamespace.set(namespace, { ms: overuseOf(namespace) + usedMs, at: now() });
      }
    },
  };
}

/** In milliseconds, since its start. */
function processCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
