import { LRUCache } from 'lru-cache';
import { Counter, Histogram, type Registry } from 'prom-client';
import { SecretError } from '../core/errors.ts';
import { type FairQueue, createFairQueue } from './fair-queue.ts';
import { withTimeout } from './single-flight.ts';

/** What calls to stores are counted by; one set serves all providers. */
export type RateLimiterMetrics = {
  readonly wait: Histogram<'budget' | 'urgency'>;
  readonly rejected: Counter<'budget' | 'urgency'>;
  /** Attempts that failed, by budget and error code; most are repeated, so mounts may have succeeded all the same. */
  readonly failedAttempts: Counter<'budget' | 'code'>;
};

/** Declares the metrics of {@link createRateLimiter}. */
export function createRateLimiterMetrics(registry: Registry): RateLimiterMetrics {
  const labelNames = ['budget', 'urgency'] as const;
  return {
    wait: new Histogram({
      name: 'keyferry_budget_wait_seconds',
      help: 'How long calls waited for the rate budget that let them go, by budget and urgency (first, refresh).',
      labelNames,
      buckets: [0.001, 0.1, 0.5, 1, 2, 5, 10, 30, 60],
      registers: [registry],
    }),
    rejected: new Counter({
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
const refreshWaitTimeoutMs = 2_000;

/** How often a store may be asked. */
export type RateLimiter = {
  /**
   * Waits until one call may go. Waiting first mounts go before refreshes; within each, namespaces take turns.
   * @throws SecretError RATE_BUDGET_EXHAUSTED for a refresh that waited 2 s, and for anybody who finds the queue full;
   *   the signal's reason where it fires first
   */
  acquire(call: {
    readonly namespace: string;
    /** `first`: a mount waits that has nothing yet. */
    readonly urgency: Urgency;
    readonly signal: AbortSignal;
  }): Promise<void>;
};

export type Urgency = 'first' | 'refresh';

/** See {@link createRateLimiter}. */
export type RateLimiterOptions = {
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
  readonly metrics?: RateLimiterMetrics;
};

/** A token bucket with a fair queue: in any span of t seconds at most `burst + t * perSecond` calls go. */
export function createRateLimiter(options: RateLimiterOptions): RateLimiter {
  const { name, perSecond, burst, now, maxQueue = 10_000, metrics } = options;
  const queues = { first: createFairQueue<() => void>(), refresh: createFairQueue<() => void>() };
  const waiting = (): number => queues.first.size + queues.refresh.size;
  const isFull = (namespace: string): boolean =>
    waiting() >= maxQueue ||
    queues.first.sizeOf(namespace) + queues.refresh.sizeOf(namespace) >= maxQueue / 4;
  let tokens = burst;
  let refilledAt = now();
  let timer: NodeJS.Timeout | undefined;

  /** Hands out what has come in; afterwards either nobody waits or less than a token is left. */
  function dispatch(): void {
    const at = now();
    tokens = Math.min(burst, tokens + (Math.max(0, at - refilledAt) * perSecond) / 1_000);
    refilledAt = at;
    while (tokens >= 1 && waiting() > 0) {
      tokens -= 1;
      (queues.first.shift() ?? queues.refresh.shift())?.();
    }
    if (waiting() > 0 && timer === undefined) timer = setTimeout(onToken, untilNextToken());
  }

  function onToken(): void {
    timer = undefined;
    dispatch();
  }

  /** Nobody waits: a pending timer would keep the process. */
  function stopTimer(): void {
    clearTimeout(timer);
    timer = undefined;
  }

  const untilNextToken = (): number => Math.ceil(((1 - tokens) * 1_000) / perSecond);

  function enqueue(
    fairQueue: FairQueue<() => void>,
    namespace: string,
    signal: AbortSignal,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const resume = (): void => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      const onAbort = (): void => {
        fairQueue.remove(namespace, resume);
        if (waiting() === 0) stopTimer();
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      fairQueue.push(namespace, resume);
      dispatch();
    });
  }

  function exhaustedError(reason: string, urgency: Urgency): SecretError {
    metrics?.rejected.inc({ budget: name, urgency });
    return new SecretError(
      'RATE_BUDGET_EXHAUSTED',
      `the budget of ${perSecond} calls a second to ${name} ${reason}`,
      { hint: `raise the rate or the burst of ${name}, or refresh less often` },
    );
  }

  return {
    async acquire({ namespace, urgency, signal }) {
      signal.throwIfAborted();
      dispatch();
      if (tokens < 1 && isFull(namespace))
        throw exhaustedError(`has ${waiting()} waiting already`, urgency);
      const fairQueue = queues[urgency];
      const waitStartedAt = now();
      if (urgency === 'first') await enqueue(fairQueue, namespace, signal);
      else {
        const onTimeout = (): SecretError =>
          exhaustedError(
            `left this refresh waiting for ${refreshWaitTimeoutMs / 1_000} s`,
            urgency,
          );
        await withTimeout(refreshWaitTimeoutMs, signal, onTimeout, (combinedSignal) =>
          enqueue(fairQueue, namespace, combinedSignal),
        );
      }
      metrics?.wait.observe({ budget: name, urgency }, (now() - waitStartedAt) / 1_000);
    },
  };
}

/** Services, regions and accounts, or Vaults, whose rates are kept apart. */
const maxRateLimiters = 1_000;

/** The budget of a key; made with these options where there is none. */
export type RateLimiters = (
  key: string,
  options: Pick<RateLimiterOptions, 'name' | 'perSecond' | 'burst'>,
) => RateLimiter;

/**
 * Budgets by key, those used last.
 * @param deps.now milliseconds; only differences count
 */
export function createRateLimiters({
  now,
  metrics,
}: {
  readonly now: () => number;
  readonly metrics?: RateLimiterMetrics | undefined;
}): RateLimiters {
  const rateLimiters = new LRUCache<string, RateLimiter>({ max: maxRateLimiters });
  return (key, options) => {
    const existing = rateLimiters.get(key);
    if (existing !== undefined) return existing;
    const created = createRateLimiter({ ...options, now, ...(metrics && { metrics }) });
    rateLimiters.set(key, created);
    return created;
  };
}
