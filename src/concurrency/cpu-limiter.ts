import { LRUCache } from 'lru-cache';
import { WaitQueue } from './wait-queue.ts';

/** How much CPU time beyond its fraction a namespace had used at the moment `at`. */
type Overuse = { readonly ms: number; readonly at: number };

/** The waiters of one namespace and the timer that resumes the first of them. */
type NamespaceQueue = { readonly waiters: WaitQueue; timer: NodeJS.Timeout | undefined };

/** See {@link CpuLimiter}. */
export type CpuLimiterOptions = {
  /** Milliseconds; only differences count. */
  readonly now?: () => number;
  /** CPU time of this process in milliseconds; only differences count. */
  readonly cpu?: () => number;
  /** The fraction of the time that a namespace may use in the long run. */
  readonly cpuFraction?: number;
  /** CPU time that a namespace may use at once, in milliseconds. */
  readonly burstMs?: number;
  /** Work that takes no longer than this is not counted. */
  readonly uncountedMs?: number;
};

/**
 * Limits how long one namespace blocks the event loop. One pod can need some 200 ms of CPU time
 * (large classes, slow expressions); a hundred pods of one tenant would then block all other mounts
 * for 20 s. A namespace may use `burstMs` at once and `cpuFraction` of the time in the long run.
 * The default is so low that a hundred mounts of another namespace do not notice it.
 *
 * Work of up to `uncountedMs`, which is enough for ordinary classes, is not counted. Neither is
 * time in which the process does not run.
 */
export class CpuLimiter {
  readonly #now: () => number;
  readonly #cpu: () => number;
  readonly #cpuFraction: number;
  readonly #burstMs: number;
  readonly #uncountedMs: number;
  readonly #overuseByNamespace = new LRUCache<string, Overuse>({ max: 1_000 });
  readonly #queues = new Map<string, NamespaceQueue>();

  constructor({
    now = () => performance.now(),
    cpu = processCpuMs,
    cpuFraction = 0.005,
    burstMs = 250,
    uncountedMs = 5,
  }: CpuLimiterOptions = {}) {
    this.#now = now;
    this.#cpu = cpu;
    this.#cpuFraction = cpuFraction;
    this.#burstMs = burstMs;
    this.#uncountedMs = uncountedMs;
  }

  /**
   * Runs `work` at once, or waits until the namespace is within its limit again. Callers of one
   * namespace run in order of arrival. `waiter.signal` is read only if the caller has to wait.
   * @throws what `work` throws; the signal's reason if the signal fires during the wait
   */
  async run<T>(
    namespace: string,
    waiter: { readonly signal: AbortSignal },
    work: () => T,
  ): Promise<T> {
    if (!this.#queues.has(namespace) && this.#excessMs(namespace) <= 0)
      return this.#measure(namespace, work);
    await this.#wait(namespace, waiter.signal);
    try {
      return this.#measure(namespace, work);
    } finally {
      this.#scheduleNext(namespace);
    }
  }

  #wait(namespace: string, signal: AbortSignal): Promise<void> {
    let queue = this.#queues.get(namespace);
    if (queue === undefined) {
      const onAbort = (): void => this.#removeIfEmpty(namespace);
      queue = { waiters: new WaitQueue({ onAbort }), timer: undefined };
      this.#queues.set(namespace, queue);
    }
    const resumed = queue.waiters.wait(namespace, signal, undefined);
    this.#removeIfEmpty(namespace);
    this.#scheduleNext(namespace);
    return resumed;
  }

  #scheduleNext(namespace: string): void {
    const queue = this.#queues.get(namespace);
    if (queue === undefined || queue.timer !== undefined) return;
    const waitMs = Math.max(0, this.#excessMs(namespace)) / this.#cpuFraction;
    queue.timer = setTimeout(
      () => {
        queue.timer = undefined;
        if (this.#excessMs(namespace) > 0) return this.#scheduleNext(namespace);
        // The resumed caller schedules the next one after its work.
        queue.waiters.resumeNext();
        this.#removeIfEmpty(namespace);
      },
      Math.min(waitMs, 1_000),
    );
  }

  /** A pending timer would keep the process running although no caller waits. */
  #removeIfEmpty(namespace: string): void {
    const queue = this.#queues.get(namespace);
    if (queue === undefined || queue.waiters.size > 0) return;
    clearTimeout(queue.timer);
    this.#queues.delete(namespace);
  }

  #measure<T>(namespace: string, work: () => T): T {
    const [startedAt, cpuBefore] = [this.#now(), this.#cpu()];
    try {
      return work();
    } finally {
      const isCounted = this.#now() - startedAt > this.#uncountedMs;
      const usedMs = isCounted ? this.#cpu() - cpuBefore : 0;
      if (usedMs > this.#uncountedMs) {
        const ms = this.#overuseMs(namespace) + usedMs;
        this.#overuseByNamespace.set(namespace, { ms, at: this.#now() });
      }
    }
  }

  /** By how much the namespace is over its limit; negative or 0: it may run. */
  #excessMs(namespace: string): number {
    return this.#overuseMs(namespace) - this.#burstMs;
  }

  #overuseMs(namespace: string): number {
    const overuse = this.#overuseByNamespace.get(namespace);
    if (overuse === undefined) return 0;
    return Math.max(0, overuse.ms - (this.#now() - overuse.at) * this.#cpuFraction);
  }
}

/** CPU time since the start of the process, in milliseconds. */
function processCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
