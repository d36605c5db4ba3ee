import { LRUCache } from 'lru-cache';
import type { SecretError } from '../core/errors.ts';
import { isRecent } from './time.ts';

/** See {@link RejectionCache}. */
export type RejectionCacheOptions = {
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  /** The first window. Default 60,000. */
  readonly initialWindowMs?: number;
  /**
   * The longest window. A rejection is forgotten when its window has been over for as long.
   * Default 600,000.
   */
  readonly maxWindowMs?: number;
  /** How many rejections are kept; the least recently used one is dropped first. Default 1,000. */
  readonly max?: number;
};

type Rejection = { readonly error: SecretError; readonly until: number; readonly windowMs: number };

/**
 * Remembers credentials that a store rejected, so that 500 mounts with one wrong key do not lock
 * it: some stores lock a key after five bad signatures. `key` is a digest of the whole credential.
 * So a changed credential is tried at once, and no plain credential is kept.
 */
export class RejectionCache {
  readonly #now: () => number;
  readonly #initialWindowMs: number;
  readonly #maxWindowMs: number;
  readonly #rejections: LRUCache<string, Rejection>;

  constructor({
    now,
    initialWindowMs = 60_000,
    maxWindowMs = 600_000,
    max = 1_000,
  }: RejectionCacheOptions) {
    this.#now = now;
    this.#initialWindowMs = initialWindowMs;
    this.#maxWindowMs = maxWindowMs;
    this.#rejections = new LRUCache({ max });
  }

  /** @throws the recorded SecretError while its window lasts */
  throwIfRejected(key: string): void {
    const last = this.#rejections.get(key);
    if (last !== undefined && isActive(last, this.#now())) throw last.error;
  }

  /**
   * Opens a window, twice as long as the window before it. A rejection within an open window
   * changes nothing.
   */
  recordRejection(key: string, error: SecretError): void {
    const last = this.#rejections.get(key);
    const at = this.#now();
    if (last !== undefined && isActive(last, at)) return;
    const isRepeated = last !== undefined && at < last.until + this.#maxWindowMs;
    const windowMs = isRepeated
      ? Math.min(this.#maxWindowMs, last.windowMs * 2)
      : this.#initialWindowMs;
    this.#rejections.set(key, { error, until: at + windowMs, windowMs });
  }

  /** The store accepted the credential: its rejections are forgotten. */
  recordSuccess(key: string): void {
    this.#rejections.delete(key);
  }
}

function isActive({ until, windowMs }: Rejection, at: number): boolean {
  return isRecent(until - windowMs, windowMs, at);
}
