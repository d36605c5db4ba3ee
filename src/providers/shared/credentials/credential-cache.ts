import { LRUCache } from 'lru-cache';
import { runAsKeyferry } from '../../../concurrency/caller.ts';
import { SingleFlight } from '../../../concurrency/single-flight.ts';
import { isRecent } from '../../../concurrency/time.ts';
import { type SecretError, toSecretError } from '../../../core/errors.ts';

/** The timeout of a refresh in the background, and the pause after one that failed. */
const backgroundRefreshMs = 30_000;
/** A credential this close to its end is not used: it could end while the request is on its way. */
const expiryMarginMs = 30_000;
/** After a refusal the next credential stays for this time, even if a store refuses it, too. */
const replacementPauseMs = 60_000;

/** What the cache keeps: credentials, and values that the provider looks up with them. */
export type Expiring = {
  /** Milliseconds since the epoch; absent: never. */
  readonly expiresAt?: number;
};

/** See {@link CredentialCache}. */
export type CredentialCacheOptions = {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /**
   * How long before its end the cache replaces a credential, in ms; never before half of its life.
   * Default 5 minutes.
   */
  readonly renewBeforeMs?: number;
  /** How many credentials the cache keeps: those used last. Default 1,000. */
  readonly max?: number;
  /** Gets the error of a refresh that failed while the old credential still serves. */
  readonly onFailure?: (error: SecretError) => void;
};

type CacheEntry<T> = {
  readonly credential: T;
  /** When the next refresh is due. */
  refreshAt: number;
};

/** Makes a credential. Observes its signal, which fires when no caller waits any more. */
type Obtain<T> = (signal: AbortSignal) => Promise<T>;

/**
 * Credentials by identity, bounded, with one login at a time for each. The cache replaces a
 * credential early and in the background. So a mount does not wait for a new login, and an outage
 * of the login service that is shorter than `renewBeforeMs` has no effect.
 */
export class CredentialCache<T extends Expiring> {
  readonly #now: () => number;
  readonly #renewBeforeMs: number;
  readonly #onFailure: ((error: SecretError) => void) | undefined;
  readonly #entries: LRUCache<string, CacheEntry<T>>;
  /** When a refused credential was last dropped. */
  readonly #droppedAt: LRUCache<string, number>;
  readonly #singleFlight = new SingleFlight<T>();

  constructor({ now, renewBeforeMs = 300_000, max = 1_000, onFailure }: CredentialCacheOptions) {
    this.#now = now;
    this.#renewBeforeMs = renewBeforeMs;
    this.#onFailure = onFailure;
    this.#entries = new LRUCache({ max });
    this.#droppedAt = new LRUCache({ max });
  }

  /**
   * Returns the cached credential of `key`, or what `obtain` makes, once for all concurrent
   * callers.
   * @param key identifies everything that `obtain` depends on
   * @throws what `obtain` throws; the signal's reason if it fires first
   */
  async get(key: string, signal: AbortSignal, obtain: Obtain<T>): Promise<T> {
    signal.throwIfAborted();
    const entry = this.#entries.get(key);
    const now = this.#now();
    if (entry === undefined || now >= (entry.credential.expiresAt ?? Infinity) - expiryMarginMs)
      return this.#obtainAndCache(key, signal, obtain);
    if (now >= entry.refreshAt) this.#refreshInBackground(key, entry, obtain);
    return entry.credential;
  }

  /**
   * Drops a credential that the store refused, once in a minute for each key: a store that refuses
   * every credential does not cause a login for each call.
   * @returns whether `get` now logs in, or already has another credential
   */
  invalidate(key: string, credential: T): boolean {
    const entry = this.#entries.peek(key);
    if (entry?.credential !== credential) return true;
    if (isRecent(this.#droppedAt.get(key), replacementPauseMs, this.#now())) return false;
    this.#droppedAt.set(key, this.#now());
    this.#entries.delete(key);
    return true;
  }

  #obtainAndCache(key: string, signal: AbortSignal, obtain: Obtain<T>): Promise<T> {
    return this.#singleFlight.run(key, signal, async (callSignal) => {
      const credential = await obtain(callSignal);
      const { expiresAt = Infinity } = credential;
      const obtainedAt = this.#now();
      const halfLifeAt = obtainedAt + (expiresAt - obtainedAt) / 2;
      const refreshAt = Math.max(expiresAt - this.#renewBeforeMs, halfLifeAt);
      this.#entries.set(key, { credential, refreshAt });
      return credential;
    });
  }

  #refreshInBackground(key: string, entry: CacheEntry<T>, obtain: Obtain<T>): void {
    entry.refreshAt = this.#now() + backgroundRefreshMs;
    const signal = AbortSignal.timeout(backgroundRefreshMs);
    runAsKeyferry(() => this.#obtainAndCache(key, signal, obtain)).catch((thrown: unknown) => {
      this.#onFailure?.(toSecretError(thrown));
    });
  }
}
