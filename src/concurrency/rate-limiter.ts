import { LRUCache } from 'lru-cache';
import { Counter, Histogram, type Registry } from 'prom-client';
import { SecretError } from '../core/errors.ts';
import { type FairQueue, createFairQueue } from './fair-queue.ts';
import { withTimeout } from './single-flight.ts';

/** What calls to stores are counted by; one set serves all providers. */
export type BudgetMetrics = {
  readonly wait: Histogram<'budget' | 'urgency'>;
  readonly refused: Counter<'budget' | 'urgency'>;
  /** Attempts that failed, by budget and error code; most are repeated, so mounts may have succeeded all the same. */
  readonly failedAttempts: Counter<'budget' | 'code'>;
};

/** Declares the metrics of {@link createBudget}. */
export function createBudgetMetrics(registry: Registry): BudgetMetrics {
  const labelNames = ['budget', 'urgency'] as const;
  return {
    wait: new Histogram({
      name: 'keyferry_budget_wait_seconds',
      help: 'How long calls waited for the rate budget that let them go, by budget and urgency (first, refresh).',
      labelNames,
      buckets: [0.001, 0.1, 0.5, 1, 2, 5, 10, 30, 60],
      registers: [registry],
    }),
    refused: new Counter({
      name: 'keyferry_budget_refused_total',
      help: 'Calls that got no rate budget in time, by budget and urgency (first, refresh).',
      labelNames,
      registers: [registry],
    }),
    failedAttempts: new Counter({
      name: 'keyferry_failed_attempts_total',
      help: 'Calls to a store that failed, by code, repeated or not: throttling that was waited out shows here alone.',
      labelNames: ['budget', 'code'],
      registers: [registry],
    }),
  };
}

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

/** Services, regions and accounts, or Vaults, whose rates are kept apart. */
const maxBudgets = 1_000;

/** The budget of a key; made with these options where there is none. */
export type Budgets = (key: string, options: Pick<BudgetOptions, 'name' | 'perSecond' | 'burst'>) => Budget;

/**
 * Budgets by key, those used last.
 * @param deps.now milliseconds; only differences count
 */
export function createBudgets({
  now,
  metrics,
}: {
  readonly now: () => number;
  readonly metrics?: BudgetMetrics | undefined;
}): Budgets {
  const budgets = new LRUCache<string, Budget>({ max: maxBudgets });
  return (key, options) => {
    const known = budgets.get(key);
    if (known !== undefined) return known;
    const fresh = createBudget({ ...options, now, ...(metrics && { metrics }) });
    budgets.set(key, fresh);
    return fresh;
  };
}
