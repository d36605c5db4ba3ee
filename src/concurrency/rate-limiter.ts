import { LRUCache } from 'lru-cache';
import { Counter, Histogram, type Registry } from 'prom-client';
import { SecretError } from '../core/errors.ts';
import type { Urgency } from '../core/provider.ts';
import { withTimeout } from './deadline.ts';
import { WaitQueue } from './wait-queue.ts';

/** Metrics of calls to stores. All providers share one set. */
export type RateLimiterMetrics = {
  readonly wait: Histogram<'budget' | 'urgency'>;
  readonly rejected: Counter<'budget' | 'urgency'>;
  /**
   * Calls that failed, by budget and error code. Most are retried, so the mount may still have
   * succeeded.
   */
  readonly failedAttempts: Counter<'budget' | 'code'>;
};

/** Declares the metrics of {@link RateLimiter}. */
export function createRateLimiterMetrics(registry: Registry): RateLimiterMetrics {
  const labelNames = ['budget', 'urgency'] as const;
  return {
    wait: new Histogram({
      name: 'keyferry_budget_wait_seconds',
      help: 'How long calls waited for the rate limit, by budget and urgency (first, refresh).',
      labelNames,
      buckets: [0.001, 0.1, 0.5, 1, 2, 5, 10, 30, 60],
      registers: [registry],
    }),
    rejected: new Counter({
      name: 'keyferry_budget_refused_total',
      help: 'Calls that the rate limit did not allow in time, by budget and urgency (first, refresh).',
      labelNames,
      registers: [registry],
    }),
    failedAttempts: new Counter({
      name: 'keyferry_failed_attempts_total',
      help:
        'Calls to a store that failed, by code, whether retried or not. ' +
        'Throttling that a retry overcame shows only here.',
      labelNames: ['budget', 'code'],
      registers: [registry],
    }),
  };
}

/** How long a refresh waits for the rate limit. Its cached value can be used instead. */
const refreshWaitTimeoutMs = 2_000;

/** See {@link RateLimiter}. */
export type RateLimiterOptions = {
  /** Name of the limited target in messages and metrics, for example `cce`. */
  readonly name: string;
  /** Calls a second in the long run; finite, above 0. */
  readonly perSecond: number;
  /** Calls at once after a pause; at least 1. */
  readonly burst: number;
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  /** How many calls may wait; of one namespace at most a quarter. Default 10,000. */
  readonly maxQueue?: number;
  readonly metrics?: RateLimiterMetrics;
};

/**
 * A token bucket with a fair queue. In any period of t seconds it lets at most
 * `burst + t * perSecond` calls go.
 */
export class RateLimiter {
  readonly #name: string;
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #now: () => number;
  readonly #maxQueue: number;
  readonly #metrics: RateLimiterMetrics | undefined;
  readonly #queues: Readonly<Record<Urgency, WaitQueue>>;
  #tokens: number;
  #refilledAt: number;
  #timer: NodeJS.Timeout | undefined;

  constructor({ name, perSecond, burst, now, maxQueue = 10_000, metrics }: RateLimiterOptions) {
    this.#name = name;
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#now = now;
    this.#maxQueue = maxQueue;
    this.#metrics = metrics;
    const onAbort = (): void => this.#stopTimerIfIdle();
    this.#queues = { first: new WaitQueue({ onAbort }), refresh: new WaitQueue({ onAbort }) };
    this.#tokens = burst;
    this.#refilledAt = now();
  }

  /**
   * Waits until one call may go. Calls of first mounts go before refreshes. Within each of the two,
   * namespaces take turns.
   * @throws SecretError RATE_BUDGET_EXHAUSTED for a refresh that waited 2 s, and for any call if
   *   the queue is full; the signal's reason if the signal fires first
   */
  async acquire({
    namespace,
    urgency,
    signal,
  }: {
    readonly namespace: string;
    readonly urgency: Urgency;
    readonly signal: AbortSignal;
  }): Promise<void> {
    signal.throwIfAborted();
    this.#dispatch();
    if (this.#tokens < 1 && this.#isFull(namespace))
      throw this.#exhaustedError('has too many calls waiting', urgency);
    const waitStartedAt = this.#now();
    const wait = (waitSignal: AbortSignal): Promise<void> => {
      const resumed = this.#queues[urgency].wait(namespace, waitSignal, undefined);
      this.#dispatch();
      return resumed;
    };
    if (urgency === 'first') await wait(signal);
    else {
      const seconds = refreshWaitTimeoutMs / 1_000;
      const onTimeout = (): SecretError =>
        this.#exhaustedError(`did not let this refresh go within ${seconds} s`, urgency);
      await withTimeout(refreshWaitTimeoutMs, signal, onTimeout, wait);
    }
    const waitedSeconds = (this.#now() - waitStartedAt) / 1_000;
    this.#metrics?.wait.observe({ budget: this.#name, urgency }, waitedSeconds);
  }

  get #waiting(): number {
    return this.#queues.first.size + this.#queues.refresh.size;
  }

  #isFull(namespace: string): boolean {
    const { first, refresh } = this.#queues;
    const waitingInNamespace = first.sizeOf(namespace) + refresh.sizeOf(namespace);
    return this.#waiting >= this.#maxQueue || waitingInNamespace >= this.#maxQueue / 4;
  }

  /**
   * Adds the tokens that are due and resumes waiters with them. Afterwards no call waits, or less
   * than one token is left.
   */
  #dispatch(): void {
    const at = this.#now();
    const earned = (Math.max(0, at - this.#refilledAt) * this.#perSecond) / 1_000;
    this.#tokens = Math.min(this.#burst, this.#tokens + earned);
    this.#refilledAt = at;
    while (this.#tokens >= 1 && this.#waiting > 0) {
      this.#tokens -= 1;
      if (!this.#queues.first.resumeNext()) this.#queues.refresh.resumeNext();
    }
    if (this.#waiting === 0 || this.#timer !== undefined) return;
    const nextTokenMs = Math.ceil(((1 - this.#tokens) * 1_000) / this.#perSecond);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#dispatch();
    }, nextTokenMs);
  }

  /** A pending timer would keep the process running although no call waits. */
  #stopTimerIfIdle(): void {
    if (this.#waiting > 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #exhaustedError(reason: string, urgency: Urgency): SecretError {
    this.#metrics?.rejected.inc({ budget: this.#name, urgency });
    return new SecretError(
      'RATE_BUDGET_EXHAUSTED',
      `the rate limit of ${this.#perSecond} calls a second to ${this.#name} ${reason}`,
      { hint: `raise the rate or the burst of ${this.#name}, or refresh less often` },
    );
  }
}

/** How many keys (service, region and account, or Vault) have a rate limiter of their own. */
const maxRateLimiters = 1_000;

/** Returns the rate limiter of a key. Creates it with these options if it does not exist yet. */
export type RateLimiters = (
  key: string,
  options: Pick<RateLimiterOptions, 'name' | 'perSecond' | 'burst'>,
) => RateLimiter;

/**
 * Keeps the most recently used rate limiters by key.
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
    const created = new RateLimiter({ ...options, now, ...(metrics && { metrics }) });
    rateLimiters.set(key, created);
    return created;
  };
}
