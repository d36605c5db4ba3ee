import { raceWithAbort } from './deadline.ts';

/** Work in steps: each `yield` is a point where other work may run. Returns the result. */
export type Steps<T> = Generator<undefined, T>;

/** Work that cannot be divided. */
// eslint-disable-next-line require-yield
export function* inOneStep<T>(work: () => T): Steps<T> {
  return work();
}

/** See {@link CpuScheduler}. */
export type CpuSchedulerOptions = {
  /** Milliseconds; only differences count. Default: a monotonic clock. */
  readonly now?: () => number;
  /** How long work runs in one turn of the event loop, in milliseconds. Default 5. */
  readonly sliceMs?: number;
  /** Runs a function in the next turn of the event loop, after I/O. Default setImmediate. */
  readonly nextTurn?: (run: () => void) => void;
  /** Gets how long work waited for its turns, in milliseconds. Called once for work that waited. */
  readonly onWaited?: (ms: number) => void;
};

type Task = { readonly run: (until: number) => boolean; waitedMs: number; queuedAt: number };

/** The tasks of one namespace. */
type NamespaceTasks = {
  readonly tasks: Set<Task>;
  /** CPU time that its tasks have used, in ms, on a scale that all waiting namespaces share. */
  usedMs: number;
};

/**
 * Shares the event loop between namespaces. Rendering a large class can take 200 ms of CPU time; a
 * hundred pods of one tenant would block all other mounts for 20 s.
 *
 * It is work-conserving: work waits only while other work runs. New work runs at once while a turn
 * of the event loop has time left, so a mount whose files are cached does not wait behind large
 * ones. Work that is left runs in slices of `sliceMs`, one slice in each turn, so that I/O comes
 * between. The namespace that has used the least time is next; its tasks run one after the other.
 * What a namespace used is forgotten when no work waits.
 */
export class CpuScheduler {
  readonly #now: () => number;
  readonly #sliceMs: number;
  readonly #nextTurn: (run: () => void) => void;
  readonly #onWaited: ((ms: number) => void) | undefined;
  readonly #namespaces = new Map<string, NamespaceTasks>();
  /** What has run at once in this turn, in milliseconds. */
  #usedInTurnMs = 0;
  #isTurnScheduled = false;

  constructor({
    now = () => performance.now(),
    sliceMs = 5,
    nextTurn = (run) => void setImmediate(run),
    onWaited,
  }: CpuSchedulerOptions = {}) {
    this.#now = now;
    this.#sliceMs = sliceMs;
    this.#nextTurn = nextTurn;
    this.#onWaited = onWaited;
  }

  /**
   * Runs all steps. `waiter.signal` is read only if the work has to wait.
   * @throws what a step throws; the signal's reason if the signal fires while the work waits
   */
  async run<T>(
    namespace: string,
    waiter: { readonly signal: AbortSignal },
    steps: Steps<T>,
  ): Promise<T> {
    if (this.#usedInTurnMs < this.#sliceMs) {
      const startedAt = this.#now();
      const result = runUntil(steps, this.#now, startedAt + this.#sliceMs - this.#usedInTurnMs);
      this.#usedInTurnMs += this.#now() - startedAt;
      // Small work does not pay for a timer each time.
      if (this.#usedInTurnMs > 1) this.#scheduleTurn();
      if (result.done === true) return result.value;
    }
    return this.#enqueue(namespace, waiter.signal, steps);
  }

  async #enqueue<T>(namespace: string, signal: AbortSignal, steps: Steps<T>): Promise<T> {
    let task: Task | undefined;
    const completed = new Promise<T>((resolve, reject) => {
      task = {
        waitedMs: 0,
        queuedAt: this.#now(),
        run: (until) => {
          try {
            const result = runUntil(steps, this.#now, until);
            if (result.done === true) resolve(result.value);
            return result.done === true;
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
            return true;
          }
        },
      };
      this.#add(namespace, task);
    });
    try {
      return await raceWithAbort(completed, signal);
    } finally {
      if (task !== undefined) {
        this.#remove(namespace, task);
        this.#onWaited?.(task.waitedMs);
      }
    }
  }

  #add(namespace: string, task: Task): void {
    const existing = this.#namespaces.get(namespace);
    if (existing !== undefined) existing.tasks.add(task);
    // A namespace that joins starts where the least served one is: it gets no credit for its rest.
    else this.#namespaces.set(namespace, { tasks: new Set([task]), usedMs: this.#leastUsedMs() });
    this.#scheduleTurn();
  }

  #remove(namespace: string, task: Task): void {
    const entry = this.#namespaces.get(namespace);
    entry?.tasks.delete(task);
    if (entry?.tasks.size === 0) this.#namespaces.delete(namespace);
  }

  #scheduleTurn(): void {
    if (this.#isTurnScheduled) return;
    this.#isTurnScheduled = true;
    this.#nextTurn(() => {
      this.#isTurnScheduled = false;
      this.#usedInTurnMs = 0;
      this.#runTurn();
    });
  }

  /** Runs tasks for one slice. The namespace that has used the least time is first. */
  #runTurn(): void {
    const until = this.#now() + this.#sliceMs;
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      const { namespace, entry, task } = next;
      const startedAt = this.#now();
      task.waitedMs += startedAt - task.queuedAt;
      const isDone = task.run(until);
      task.queuedAt = this.#now();
      entry.usedMs += task.queuedAt - startedAt;
      if (isDone) this.#remove(namespace, task);
      if (this.#now() >= until) break;
    }
    if (this.#namespaces.size > 0) this.#scheduleTurn();
  }

  #next(): { namespace: string; entry: NamespaceTasks; task: Task } | undefined {
    let next: { namespace: string; entry: NamespaceTasks } | undefined;
    for (const [namespace, entry] of this.#namespaces)
      if (next === undefined || entry.usedMs < next.entry.usedMs) next = { namespace, entry };
    const [task] = next?.entry.tasks ?? [];
    return next && task && { ...next, task };
  }

  #leastUsedMs(): number {
    const used = [...this.#namespaces.values()].map(({ usedMs }) => usedMs);
    return used.length === 0 ? 0 : Math.min(...used);
  }
}

/** Runs at least one step, and more until the time `until`. */
function runUntil<T>(
  steps: Steps<T>,
  now: () => number,
  until: number,
): IteratorResult<undefined, T> {
  for (;;) {
    const result = steps.next();
    if (result.done === true || now() >= until) return result;
  }
}
