import { SecretError } from '../errors/secret-error.ts';
import type { BudgetMetrics } from './budget-metrics.ts';
import { withTimeout } from './deadline.ts';
import { createFairQueue, type FairQueue } from './fair-queue.ts';

/** How long a refresh waits: its cached value can serve meanwhile. */
const refreshPatienceMs = 2_000;

/** How often a store may be asked. */
export type Budget = {
  /**
   * Waits until one call may go. Waiting first mounts go before refreshes; within each, namespaces take turns.
   * @throws SecretError RATE_BUDGET_EXHAUSTED for a refresh that waited 2 s, and for anybody who finds the queue full;
   *   the signal's reason where it fires first
   */
  take(call: {
    readonly namespace: string;
    /** `first`: a mount waits that has nothing yet. */
    readonly urgency: Urgency;
    readonly signal: AbortSignal;
  }): Promise<void>;
};

export type Urgency = 'first' | 'refresh';

/** See {@link createBudget}. */
export type BudgetOptions = {
  /** Whose budget it is, for messages and metrics: `cce`. */
  readonly name: string;
  /** Calls a second in the long run; finite, above 0. */
  readonly perSecond: number;
  /** Calls at once after a pause; at least 1. */
  readonly burst: number;
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  /** How many may wait; of one namespace at most a quarter. Default 10,000. */
  readonly maxQueue?: number;
  readonly metrics?: BudgetMetrics;
};

/** A token bucket with a fair queue: in any span of t seconds at most `burst + t * perSecond` calls go. */
export function createBudget(options: BudgetOptions): Budget {
  const { name, perSecond, burst, now, maxQueue = 10_000, metrics } = options;
  const queues = { first: createFairQueue<() => void>(), refresh: createFairQueue<() => void>() };
  const waiting = (): number => queues.first.size + queues.refresh.size;
  const isFull = (namespace: string): boolean =>
    waiting() >= maxQueue ||
    queues.first.sizeOf(namespace) + queues.refresh.sizeOf(namespace) >= maxQueue / 4;
  let tokens = burst;
  let filledAt = now();
  let timer: NodeJS.Timeout | undefined;

  /** Hands out what has come in; afterwards either nobody waits or less than a token is left. */
  function serve(): void {
    const at = now();
    tokens = Math.min(burst, tokens + (Math.max(0, at - filledAt) * perSecond) / 1_000);
    filledAt = at;
    while (tokens >= 1 && waiting() > 0) {
      tokens -= 1;
      (queues.first.shift() ?? queues.refresh.shift())?.();
    }
    if (waiting() > 0 && timer === undefined) timer = setTimeout(onToken, untilNextToken());
  }

  function onToken(): void {
    timer = undefined;
    serve();
  }

  /** Nobody waits: a pending timer would keep the process. */
  function rest(): void {
    clearTimeout(timer);
    timer = undefined;
  }

  const untilNextToken = (): number => Math.ceil(((1 - tokens) * 1_000) / perSecond);

  function queue(line: FairQueue<() => void>, namespace: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        line.remove(namespace, go);
        if (waiting() === 0) rest();
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', leave, { once: true });
      line.push(namespace, go);
      serve();
    });
  }

  function exhausted(why: string, urgency: Urgency): SecretError {
    metrics?.refused.inc({ budget: name, urgency });
    return new SecretError(
      'RATE_BUDGET_EXHAUSTED',
      `the budget of ${perSecond} calls a second to ${name} ${why}`,
      { hint: `raise the rate or the burst of ${name}, or refresh less often` },
    );
  }

  return {
    async take({ namespace, urgency, signal }) {
      signal.throwIfAborted();
      serve();
      if (tokens < 1 && isFull(namespace)) throw exhausted(`has ${waiting()} waiting already`, urgency);
      const line = queues[urgency];
      const since = now();
      if (urgency === 'first') await queue(line, namespace, signal);
      else {
        const onTimeout = (): SecretError =>
          exhausted(`left this refresh waiting for ${refreshPatienceMs / 1_000} s`, urgency);
        await withTimeout(refreshPatienceMs, signal, onTimeout, (either) => queue(line, namespace, either));
      }
      metrics?.wait.observe({ budget: name, urgency }, (now() - since) / 1_000);
    },
  };
}
