import { LRUCache } from 'lru-cache';
import type { SecretError } from '../core/errors.ts';
import { isRecent } from './time.ts';

/**
 * Remembers credentials that were refused as bad, so that 500 mounts with one wrong key do not lock it: some stores
 * lock a key after five bad signatures.
 */
export type RejectionCache = {
  /** @throws the remembered SecretError while the window lasts */
  throwIfRejected(key: string): void;
  /** Opens a window, twice as long as the last one; a refusal within the window changes nothing. */
  recordRejection(key: string, error: SecretError): void;
  /** Forgets: the credential was taken. */
  recordSuccess(key: string): void;
};

/** See {@link createRejectionCache}. */
export type RejectionCacheOptions = {
  /** Milliseconds. */
  readonly now: () => number;
  /** The first window. */
  readonly initialWindowMs?: number;
  /** The longest window; a refusal is forgotten altogether when its window has been over for as long. */
  readonly maxWindowMs?: number;
  /** How many credentials are remembered, the latest ones. */
  readonly max?: number;
};

type Rejection = { readonly error: SecretError; readonly until: number; readonly windowMs: number };

/**
 * `key` is a digest of the whole credential, so that a changed one is tried at once and no plain one is kept.
 */
export function createRejectionCache(options: RejectionCacheOptions): RejectionCache {
  const { now, initialWindowMs = 60_000, maxWindowMs = 600_000, max = 1_000 } = options;
  const rejections = new LRUCache<string, Rejection>({ max });

  const isActive = ({ until, windowMs }: Rejection, at: number): boolean =>
    isRecent(until - windowMs, windowMs, at);

  return {
    throwIfRejected(key) {
      const last = rejections.get(key);
      if (last !== undefined && isActive(last, now())) throw last.error;
    },
    recordRejection(key, error) {
      const last = rejections.get(key);
      const at = now();
      if (last !== undefined && isActive(last, at)) return;
      const repeated = last !== undefined && at < last.until + maxWindowMs;
      const windowMs = repeated ? Math.min(maxWindowMs, last.windowMs * 2) : initialWindowMs;
      rejections.set(key, { error, until: at + windowMs, windowMs });
    },
    recordSuccess(key) {
      rejections.delete(key);
    },
  };
}
