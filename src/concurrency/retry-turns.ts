import { LRUCache } from 'lru-cache';
import { WaitQueue } from './wait-queue.ts';

const maxEndpoints = 1_000;
/** How many waiters a call resumes when it succeeds. Each of them then does the same. */
const resumedBySuccess = 2;

/** See {@link RetryTurns}. */
export type RetryTurnsOptions = {
  /** From 0 up to, but not including, 1. */
  readonly random: () => number;
  /** The longest pause before the first turn, in ms. Doubled for each next one. */
  readonly baseMs: number;
  /** The longest pause, in ms. */
  readonly capMs: number;
};

type Line = { readonly waiters: WaitQueue; pauseMs: number; timer: NodeJS.Timeout | undefined };

/**
 * Lets the calls that wait for a store in trouble try again, one after the other: however many
 * wait, the store gets one of them after each pause. The pauses have full jitter, and double until
 * a call to the store succeeds. Each success resumes two more calls, so that 200 waiters are
 * through after eight round trips, and a store that fails again does not get all of them.
 * Namespaces take turns.
 */
export class RetryTurns {
  readonly #options: RetryTurnsOptions;
  readonly #lines = new LRUCache<string, Line>({ max: maxEndpoints });

  constructor(options: RetryTurnsOptions) {
    this.#options = options;
  }

  /** Waits for a turn. @throws the signal's reason if the signal fires first */
  wait(endpoint: string, namespace: string, signal: AbortSignal): Promise<void> {
    const line = this.#lineOf(endpoint);
    const turn = line.waiters.wait(namespace, signal, undefined);
    this.#schedule(line);
    return turn;
  }

  /** A call to the endpoint has succeeded. */
  recordSuccess(endpoint: string): void {
    const line = this.#lines.get(endpoint);
    if (line === undefined) return;
    line.pauseMs = this.#options.baseMs;
    for (let resumed = 0; resumed < resumedBySuccess; resumed += 1) line.waiters.resumeNext();
    stopTimerIfIdle(line);
  }

  #lineOf(endpoint: string): Line {
    const existing = this.#lines.get(endpoint);
    if (existing !== undefined) return existing;
    const line: Line = {
      waiters: new WaitQueue({ onAbort: () => stopTimerIfIdle(line) }),
      pauseMs: this.#options.baseMs,
      timer: undefined,
    };
    this.#lines.set(endpoint, line);
    return line;
  }

  #schedule(line: Line): void {
    if (line.timer !== undefined || line.waiters.size === 0) return;
    line.timer = setTimeout(() => {
      line.timer = undefined;
      line.pauseMs = Math.min(this.#options.capMs, line.pauseMs * 2);
      line.waiters.resumeNext();
      this.#schedule(line);
    }, this.#options.random() * line.pauseMs);
  }
}

/** A pending timer would keep the process running although no call waits. */
function stopTimerIfIdle(line: Line): void {
  if (line.waiters.size > 0) return;
  clearTimeout(line.timer);
  line.timer = undefined;
}
