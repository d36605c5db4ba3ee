import { LRUCache } from 'lru-cache';
import type { Step, Steps } from '../core/steps.ts';
import { raceWithAbort } from './deadline.ts';

/** See {@link CpuScheduler}. */
export type CpuSchedulerOptions = {
  /** Milliseconds; only differences count. Default: a monotonic clock. */
  readonly now?: () => number;
  /** CPU time of this process in milliseconds; only differences count. */
  readonly cpu?: () => number;
  /** How long work runs in one turn of the event loop, in milliseconds. Default 5. */
  readonly sliceMs?: number;
  /** CPU time that a namespace may use without a pause, in milliseconds. Default 250. */
  readonly burstMs?: number;
  /** The fraction of the time by which the burst grows again. Default 0.005. */
  readonly refill?: number;
  /** How long a namespace counts as active after its last mount, in milliseconds. Default 1,000. */
  readonly activeMs?: number;
  /** Runs a function in the next turn of the event loop, after I/O. Default setImmediate. */
  readonly nextTurn?: (run: () => void) => void;
  /** Gets how long work waited for its turns, in milliseconds. Called once for work that waited. */
  readonly onWaited?: (ms: number) => void;
};

/** Runs one slice, until the time `end`. Returns whether the work is done. */
type RunSlice = (end: number) => boolean;
type Task = { runSlice: RunSlice; next: Step; waitedMs: number; queuedAt: number };
type WaitingTask = { readonly namespace: string; readonly task: Task };

/** The tasks of one namespace that wait for a turn. */
type NamespaceTasks = {
  readonly tasks: Set<Task>;
  /** CPU time that its tasks have used, in ms, on a scale that all waiting namespaces share. */
  usedMs: number;
};

/** What one namespace has used. */
type Usage = {
  /** CPU time in ms at the moment `at`, less what the time since then has refilled. */
  ms: number;
  at: number;
  /** While other namespaces are active, its next slice is not before this time. */
  resumeAt: number;
};

/**
 * Shares the event loop between namespaces. Compiling or rendering one large class can take 100 ms
 * of CPU time; a hundred pods of one tenant would block all other mounts for 10 s.
 *
 * It is work-conserving: a namespace waits only while another one is active. Work that is left
 * after the first step runs in slices of `sliceMs`, one slice in each turn of the event loop, so
 * that I/O comes between. The namespace that has used the least time is next; its tasks run one
 * after the other, so that few large documents are in memory. For the same reason at most one task
 * of all namespaces is in held steps. It has every second turn, and no pause until it ends.
 *
 * While several namespaces are active, one that has used its burst pauses after each slice: 3 times
 * as long as the slice, so it uses a quarter of the CPU time at most. After a large step the pause
 * is 200 times as long, because one long stall delays everything that arrives during it. The burst
 * lets a node start without a pause.
 */
export class CpuScheduler {
  readonly #now: () => number;
  readonly #cpu: () => number;
  readonly #sliceMs: number;
  readonly #burstMs: number;
  readonly #refill: number;
  readonly #activeMs: number;
  readonly #nextTurn: (run: () => void) => void;
  readonly #onWaited: ((ms: number) => void) | undefined;
  readonly #waiting = new Map<string, NamespaceTasks>();
  /** The task that has begun held steps. */
  #held: WaitingTask | undefined;
  #isTurnOfHeld = false;
  readonly #usage = new LRUCache<string, Usage>({ max: 1_000 });
  #lastActive = { namespace: '', at: -Infinity };
  /** When a namespace other than that of `#lastActive` was active. */
  #othersActiveAt = -Infinity;
  #isTurnScheduled = false;
  /** Until when work runs at once in this turn of the event loop. Undefined if none has yet. */
  #turnEndsAt: number | undefined;
  #pauseTimer: NodeJS.Timeout | undefined;

  constructor({
    now = () => performance.now(),
    cpu = processCpuMs,
    sliceMs = 5,
    burstMs = 250,
    refill = 0.005,
    activeMs = 1_000,
    nextTurn = (run) => void setImmediate(run),
    onWaited,
  }: CpuSchedulerOptions = {}) {
    this.#now = now;
    this.#cpu = cpu;
    this.#sliceMs = sliceMs;
    this.#burstMs = burstMs;
    this.#refill = refill;
    this.#activeMs = activeMs;
    this.#nextTurn = nextTurn;
    this.#onWaited = onWaited;
  }

  /** Notes that the namespace has a mount. */
  noteActive(namespace: string): void {
    const at = this.#now();
    if (this.#lastActive.namespace !== namespace) {
      this.#othersActiveAt = this.#lastActive.at;
      this.#lastActive = { namespace, at };
    } else this.#lastActive.at = at;
  }

  /** Counts CPU time that the namespace has used outside of `run`, in milliseconds. */
  charge(namespace: string, ms: number): void {
    this.#count(namespace, ms, 'normal');
  }

  /**
   * Waits for a next turn of the event loop if work has run at once for a slice in this one. It is
   * for work that takes about a millisecond and often comes in crowds.
   */
  async shareTurn(): Promise<void> {
    while (this.#now() >= this.#endOfTurn())
      await new Promise<void>((resolve) => this.#nextTurn(resolve));
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
    let result = steps.next();
    if (result.done === true) return result.value;
    const runsAtOnce =
      !this.#waiting.has(namespace) &&
      !this.#isPaused(namespace) &&
      !this.#mustWaitForHeld(result.value) &&
      this.#now() < this.#endOfTurn();
    if (runsAtOnce) {
      result = this.#runSlice(namespace, steps, result.value, this.#endOfTurn());
      if (result.done === true) return result.value;
    }
    return this.#enqueue(namespace, waiter.signal, steps, {
      next: result.value,
      hasBegun: runsAtOnce,
    });
  }

  async #enqueue<T>(
    namespace: string,
    signal: AbortSignal,
    steps: Steps<T>,
    { next, hasBegun }: { readonly next: Step; readonly hasBegun: boolean },
  ): Promise<T> {
    const task: Task = { runSlice: () => true, next, waitedMs: 0, queuedAt: this.#now() };
    const completed = new Promise<T>((resolve, reject) => {
      task.runSlice = (end) => {
        try {
          const result = this.#runSlice(namespace, steps, task.next, end);
          if (result.done === true) resolve(result.value);
          else task.next = result.value;
          return result.done === true;
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
          return true;
        }
      };
    });
    this.#add(namespace, task);
    if (hasBegun && isHeld(next)) this.#held ??= { namespace, task };
    try {
      return await raceWithAbort(completed, signal);
    } finally {
      this.#remove(namespace, task);
      this.#onWaited?.(task.waitedMs);
    }
  }

  #add(namespace: string, task: Task): void {
    const existing = this.#waiting.get(namespace);
    if (existing !== undefined) existing.tasks.add(task);
    // A namespace that joins starts where the least served one is: it gets no credit for its rest.
    else this.#waiting.set(namespace, { tasks: new Set([task]), usedMs: this.#leastUsedMs() });
    this.#scheduleTurn();
  }

  #remove(namespace: string, task: Task): void {
    const entry = this.#waiting.get(namespace);
    entry?.tasks.delete(task);
    if (entry?.tasks.size === 0) this.#waiting.delete(namespace);
    if (this.#held?.task === task) this.#held = undefined;
    // A pending timer would keep the process running although no task waits.
    if (this.#waiting.size === 0) this.#stopPause();
  }

  /** The first work of a turn that runs at once begins a slice. All others share it. */
  #endOfTurn(): number {
    this.#turnEndsAt ??= this.#now() + this.#sliceMs;
    this.#scheduleTurn();
    return this.#turnEndsAt;
  }

  #scheduleTurn(): void {
    if (this.#isTurnScheduled) return;
    this.#isTurnScheduled = true;
    this.#stopPause();
    this.#nextTurn(() => {
      this.#isTurnScheduled = false;
      this.#turnEndsAt = undefined;
      this.#runTurn();
    });
  }

  /** Runs waiting tasks for one slice. */
  #runTurn(): void {
    const end = this.#now() + this.#sliceMs;
    this.#isTurnOfHeld = !this.#isTurnOfHeld;
    do {
      const next = this.#next();
      if (next === undefined) return this.#pause();
      const { namespace, task } = next;
      task.waitedMs += this.#now() - task.queuedAt;
      const isDone = task.runSlice(end);
      task.queuedAt = this.#now();
      if (isDone) this.#remove(namespace, task);
      else if (isHeld(task.next)) this.#held ??= next;
    } while (this.#now() < end);
    if (this.#waiting.size > 0) this.#scheduleTurn();
  }

  #next(): WaitingTask | undefined {
    return this.#isTurnOfHeld
      ? (this.#held ?? this.#nextInTurn())
      : (this.#nextInTurn() ?? this.#held);
  }

  /** The first task of the namespace that has used the least time, of those without a pause. */
  #nextInTurn(): WaitingTask | undefined {
    let next: (WaitingTask & { readonly usedMs: number }) | undefined;
    for (const [namespace, { tasks, usedMs }] of this.#waiting) {
      const [task] = tasks;
      if (task === undefined || this.#mustWaitForHeld(task.next)) continue;
      if ((next === undefined || usedMs < next.usedMs) && !this.#isPaused(namespace))
        next = { namespace, task, usedMs };
    }
    return next;
  }

  /** Whether a step of a task other than the held one has to wait until that one ends. */
  #mustWaitForHeld(step: Step): boolean {
    return this.#held !== undefined && isHeld(step);
  }

  /** Continues after the shortest pause, or when the other namespaces may no longer be active. */
  #pause(): void {
    if (this.#waiting.size === 0) return;
    const ends = [...this.#waiting.keys()].map((namespace) => this.#usageOf(namespace).resumeAt);
    const ms = Math.max(1, Math.min(...ends) - this.#now());
    this.#pauseTimer = setTimeout(() => this.#runTurn(), Math.min(ms, this.#activeMs));
  }

  #stopPause(): void {
    clearTimeout(this.#pauseTimer);
  }

  #leastUsedMs(): number {
    const used = [...this.#waiting.values()].map(({ usedMs }) => usedMs);
    return used.length === 0 ? 0 : Math.min(...used);
  }

  #isPaused(namespace: string): boolean {
    const now = this.#now();
    return now < this.#usageOf(namespace).resumeAt && this.#othersAreActive(namespace, now);
  }

  #othersAreActive(namespace: string, now: number): boolean {
    const { namespace: last, at } = this.#lastActive;
    return now - (last === namespace ? this.#othersActiveAt : at) < this.#activeMs;
  }

  /** Runs a large step alone, or other steps until the time `end`, at least one. */
  #runSlice<T>(
    namespace: string,
    steps: Steps<T>,
    step: Step,
    end: number,
  ): IteratorResult<Step, T> {
    const before = this.#cpu();
    try {
      for (;;) {
        const result = steps.next();
        if (result.done === true || isLarge(step) || isLarge(result.value)) return result;
        if (this.#now() >= end) return result;
      }
    } finally {
      this.#count(namespace, this.#cpu() - before, step);
    }
  }

  #count(namespace: string, ms: number, step: Step): void {
    const usage = this.#usageOf(namespace);
    const now = this.#now();
    const used = Math.max(0, usage.ms - (now - usage.at) * this.#refill) + ms;
    // The limit lets a namespace have a burst again after a minute, whatever it used before.
    usage.ms = Math.min(used, 2 * this.#burstMs);
    usage.at = now;
    if (used > this.#burstMs && this.#othersAreActive(namespace, now))
      usage.resumeAt = Math.max(now, usage.resumeAt) + ms * (isLarge(step) ? 200 : 3);
    const waiting = this.#waiting.get(namespace);
    if (waiting !== undefined) waiting.usedMs += ms;
  }

  #usageOf(namespace: string): Usage {
    let usage = this.#usage.get(namespace);
    if (usage === undefined) {
      usage = { ms: 0, at: this.#now(), resumeAt: -Infinity };
      this.#usage.set(namespace, usage);
    }
    return usage;
  }
}

function isLarge(step: Step): boolean {
  return step === 'large' || step === 'held-large';
}

function isHeld(step: Step): boolean {
  return step === 'held' || step === 'held-large';
}

/** CPU time since the start of the process, in milliseconds. */
function processCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
