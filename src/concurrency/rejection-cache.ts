import { LRUCache } from 'lru-cache';
import type { SecretError } from '../core/errors.ts';
import { isRecent } from './time.ts';

/**
 * Remembers credentials that were refused as bad, so that 500 mounts with one wrong key do not lock it: some stores
 * lock a key after five bad signatures.
 */
export type Refusals = {
  /** @throws the remembered SecretError while the window lasts */
  check(key: string): void;
  /** Opens a window, twice as long as the last one; a refusal within the window changes nothing. */
  refuse(key: string, error: SecretError): void;
  /** Forgets: the credential was taken. */
  accept(key: string): void;
};

/** See {@link createRefusals}. */
export type RefusalsOptions = {
  /** Milliseconds. */
  readonly now: () => number;
  /** The first window. */
  readonly firstMs?: number;
  /** The longest window; a refusal is forgotten altogether when its window has been over for as long. */
  readonly maxMs?: number;
  /** How many credentials are remembered, the latest ones. */
  readonly max?: number;
};

type Refusal = { readonly error: SecretError; readonly until: number; readonly windowMs: number };

/**
 * `key` is a digest of the whole credential, so that a changed one is tried at once and no plain one is kept.
 */
export function createRefusals(options: RefusalsOptions): Refusals {
  const { now, firstMs = 60_000, maxMs = 600_000, max = 1_000 } = options;
  const refusals = new LRUCache<string, Refusal>({ max });

  const isOpen = ({ until, windowMs }: Refusal, at: number): boolean =>
    isRecent(until - windowMs, windowMs, at);

  return {
    check(key) {
      const last = refusals.get(key);
      if (last !== undefined && isOpen(last, now())) throw last.error;
    },
    refuse(key, error) {
      const last = refusals.get(key);
      const at = now();
      if (last !== undefined && isOpen(last, at)) return;
      const repeated = last !== undefined && at < last.until + maxMs;
      const windowMs = repeated ? Math.min(maxMs, last.windowMs * 2) : firstMs;
      refusals.set(key, { error, until: at + windowMs, windowMs });
    },
    accept(key) {
      refusals.delete(key);
    },
  };
}
