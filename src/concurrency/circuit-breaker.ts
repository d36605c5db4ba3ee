import { LRUCache } from 'lru-cache';
import type { SecretError } from '../core/errors.ts';

/** Remembers who failed, so that they are left alone for a while. */
export type Breaker = {
  /** `left alone` until its time is over, then `doubtful`: to be looked at by one before all use it again. */
  stateOf(key: string): BreakerState;
  /** It is of no use now: left alone, twice as long as the last time. Failures of those who asked meanwhile change nothing. */
  failed(key: string, error: SecretError): void;
  /** It may be of no use: nothing but a look will tell. */
  doubt(key: string): void;
  worked(key: string): void;
};

export type BreakerState =
  | { readonly kind: 'good' | 'doubtful' }
  | { readonly kind: 'left alone'; readonly error: SecretError; readonly forMs: number };

/** See {@link createBreaker}. */
export type BreakerOptions = {
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  /** From 0 up to, but not, 1. */
  readonly random?: () => number;
  /** The first time, and the longest; shortened by up to a half, so that a thousand nodes do not come back at once. */
  readonly firstMs?: number;
  readonly maxMs?: number;
  /** How many are remembered, the latest ones. */
  readonly max?: number;
};

type Trouble = { readonly error?: SecretError; readonly until: number; readonly windowMs: number };

/** Makes one; what is not remembered is good. */
export function createBreaker(options: BreakerOptions): Breaker {
  const { now, random = Math.random, firstMs = 100, maxMs = 10_000, max = 1_000 } = options;
  const records = new LRUCache<string, Trouble>({ max });

  /** How long it lasts yet; one that has not begun is from before the clock was set back, and over. */
  const leftOf = ({ until, windowMs }: Trouble, at: number): number =>
    at >= until - windowMs ? Math.max(0, until - at) : 0;

  return {
    stateOf(key) {
      const record = records.get(key);
      if (record === undefined) return { kind: 'good' };
      const { error } = record;
      const forMs = leftOf(record, now());
      return error === undefined || forMs === 0 ? { kind: 'doubtful' } : { kind: 'left alone', error, forMs };
    },
    failed(key, error) {
      const last = records.get(key);
      const at = now();
      if (last !== undefined && leftOf(last, at) > 0) return;
      const windowMs =
        last === undefined || last.windowMs === 0 ? firstMs : Math.min(maxMs, last.windowMs * 2);
      records.set(key, { error, windowMs, until: at + windowMs * (1 - random() / 2) });
    },
    doubt(key) {
      if (!records.has(key)) records.set(key, { until: now(), windowMs: 0 });
    },
    worked: (key) => void records.delete(key),
  };
}
