import { LRUCache } from 'lru-cache';
import type { SecretError } from '../core/errors.ts';

/**
 * - `closed`: requests may go.
 * - `open`: a request failed. No request goes for `retryAfterMs`.
 * - `half-open`: one caller has to check the target before all callers use it again.
 */
export type CircuitState =
  | { readonly kind: 'closed' | 'half-open' }
  | { readonly kind: 'open'; readonly error: SecretError; readonly retryAfterMs: number };

/** See {@link CircuitBreaker}. */
export type CircuitBreakerOptions = {
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  /** In [0, 1). */
  readonly random?: () => number;
  /** The first open period, before jitter. Default 100. */
  readonly initialOpenMs?: number;
  /** The longest open period, before jitter. Default 10,000. */
  readonly maxOpenMs?: number;
  /** How many keys are kept; the least recently used one is dropped first. Default 1,000. */
  readonly max?: number;
};

type FailureRecord = {
  readonly error?: SecretError;
  readonly until: number;
  readonly openMs: number;
};

/**
 * Stops requests to a target that fails. Each open period is twice as long as the one before, and
 * is shortened by up to a half at random, so that a thousand nodes do not come back at once. A key
 * without a record is closed.
 */
export class CircuitBreaker {
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #initialOpenMs: number;
  readonly #maxOpenMs: number;
  readonly #records: LRUCache<string, FailureRecord>;

  constructor({
    now,
    random = Math.random,
    initialOpenMs = 100,
    maxOpenMs = 10_000,
    max = 1_000,
  }: CircuitBreakerOptions) {
    this.#now = now;
    this.#random = random;
    this.#initialOpenMs = initialOpenMs;
    this.#maxOpenMs = maxOpenMs;
    this.#records = new LRUCache({ max });
  }

  stateOf(key: string): CircuitState {
    const record = this.#records.get(key);
    if (record === undefined) return { kind: 'closed' };
    const { error } = record;
    const retryAfterMs = remainingMsOf(record, this.#now());
    return error === undefined || retryAfterMs === 0
      ? { kind: 'half-open' }
      : { kind: 'open', error, retryAfterMs };
  }

  /** Opens the circuit. Failures of concurrent requests, while it is open, change nothing. */
  recordFailure(key: string, error: SecretError): void {
    const last = this.#records.get(key);
    const at = this.#now();
    if (last !== undefined && remainingMsOf(last, at) > 0) return;
    const openMs =
      last === undefined || last.openMs === 0
        ? this.#initialOpenMs
        : Math.min(this.#maxOpenMs, last.openMs * 2);
    this.#records.set(key, { error, openMs, until: at + openMs * (1 - this.#random() / 2) });
  }

  /** Requires a check of a closed circuit's target. An open circuit stays open. */
  markHalfOpen(key: string): void {
    if (!this.#records.has(key)) this.#records.set(key, { until: this.#now(), openMs: 0 });
  }

  recordSuccess(key: string): void {
    this.#records.delete(key);
  }
}

/** A period that begins in the future was recorded before the clock was set back: it has ended. */
function remainingMsOf({ until, openMs }: FailureRecord, at: number): number {
  return at >= until - openMs ? Math.max(0, until - at) : 0;
}
