import { LRUCache } from 'lru-cache';
import type { SecretError } from '../core/errors.ts';

/** Remembers who failed, so that they are left alone for a while. */
export type CircuitBreaker = {
  /** `left alone` until its time is over, then `doubtful`: to be looked at by one before all use it again. */
  stateOf(key: string): CircuitState;
  /** It is of no use now: left alone, twice as long as the last time. Failures of those who asked meanwhile change nothing. */
  recordFailure(key: string, error: SecretError): void;
  /** It may be of no use: nothing but a look will tell. */
  markHalfOpen(key: string): void;
  recordSuccess(key: string): void;
};

export type CircuitState =
  | { readonly kind: 'closed' | 'half-open' }
  | { readonly kind: 'open'; readonly error: SecretError; readonly retryAfterMs: number };

/** See {@link createCircuitBreaker}. */
export type CircuitBreakerOptions = {
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  /** From 0 up to, but not, 1. */
  readonly random?: () => number;
  /** The first time, and the longest; shortened by up to a half, so that a thousand nodes do not come back at once. */
  readonly initialOpenMs?: number;
  readonly maxOpenMs?: number;
  /** How many are remembered, the latest ones. */
  readonly max?: number;
};

type FailureRecord = {
  readonly error?: SecretError;
  readonly until: number;
  readonly openMs: number;
};

/** Makes one; what is not remembered is good. */
export function createCircuitBreaker(options: CircuitBreakerOptions): CircuitBreaker {
  const {
    now,
    random = Math.random,
    initialOpenMs = 100,
    maxOpenMs = 10_000,
    max = 1_000,
  } = options;
  const records = new LRUCache<string, FailureRecord>({ max });

  /** How long it lasts yet; one that has not begun is from before the clock was set back, and over. */
  const remainingMsOf = ({ until, openMs }: FailureRecord, at: number): number =>
    at >= until - openMs ? Math.max(0, until - at) : 0;

  return {
    stateOf(key) {
      const record = records.get(key);
      if (record === undefined) return { kind: 'closed' };
      const { error } = record;
      const retryAfterMs = remainingMsOf(record, now());
      return error === undefined || retryAfterMs === 0
        ? { kind: 'half-open' }
        : { kind: 'open', error, retryAfterMs: retryAfterMs };
    },
    recordFailure(key, error) {
      const last = records.get(key);
      const at = now();
      if (last !== undefined && remainingMsOf(last, at) > 0) return;
      const openMs =
        last === undefined || last.openMs === 0
          ? initialOpenMs
          : Math.min(maxOpenMs, last.openMs * 2);
      records.set(key, { error, openMs, until: at + openMs * (1 - random() / 2) });
    },
    markHalfOpen(key) {
      if (!records.has(key)) records.set(key, { until: now(), openMs: 0 });
    },
    recordSuccess: (key) => void records.delete(key),
  };
}
