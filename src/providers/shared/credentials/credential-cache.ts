import { LRUCache } from 'lru-cache';
import { SingleFlight } from '../../../concurrency/single-flight.ts';
import { isRecent } from '../../../concurrency/time.ts';
import { SecretError, toSecretError } from '../../../core/errors.ts';

/** How long a refresh in the background may take, and how long the next one waits after it failed. */
const backgroundRefreshMs = 30_000;
/** A credential this close to its end is not used any more: it would end on its way. */
const expiryMarginMs = 30_000;
/** A credential that was made this recently is not made anew because a store refuses it. */
const minInvalidationAgeMs = 60_000;

/** What can be kept: credentials, and what is found out with them. */
export type Expiring = {
  /** Milliseconds since the epoch; absent: never. */
  readonly expiresAt?: number;
};

/** See {@link createCredentialCache}. */
export type CredentialCache<T extends Expiring> = {
  /**
   * The credential kept for `key`, or what `obtain` makes: once for all who ask meanwhile. `obtain` must depend on nothing that `key`
   * does not stand for, and heeds its signal, which fires when nobody waits any more.
   * @throws what `obtain` throws; the signal's reason where it fires first
   */
  get(key: string, signal: AbortSignal, obtain: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /**
   * The store refused it: forgets it, if it is still the one that is kept and not made within the last minute. So an end that came too
   * early is mended, and a store that refuses everything is not asked for ever new ones.
   */
  refused(key: string, credential: T): void;
};

/** See {@link createCredentialCache}. */
export type CredentialCacheOptions = {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** How long before its end a credential is made anew, but never before half of its life. Default 5 minutes. */
  readonly renewBeforeMs?: number;
  /** How many are kept, those used last. */
  readonly max?: number;
  /** Told of a refresh that failed while the credential still serves. */
  readonly onFailure?: (error: SecretError) => void;
};

type CacheEntry<T> = {
  readonly credential: T;
  readonly obtainedAt: number;
  /** When the next refresh is due. */
  refreshAt: number;
};

/**
 * Credentials by identity: bounded, one login under way for each, and made anew early, in the background, so that no mount waits for
 * it and an outage of the login shorter than the early time goes unnoticed.
 */
export function createCredentialCache<T extends Expiring>(
  options: CredentialCacheOptions,
): CredentialCache<T> {
  const { now, renewBeforeMs = 300_000, max = 1_000, onFailure } = options;
  const cache = new LRUCache<string, CacheEntry<T>>({ max });
  const singleFlight = new SingleFlight<T>();

  const obtainAndCache = (
    key: string,
    signal: AbortSignal,
    obtain: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> =>
    singleFlight.run(key, signal, async (callSignal) => {
      const credential = await obtain(callSignal);
      const { expiresAt = Infinity } = credential;
      const obtainedAt = now();
      const refreshAt = Math.max(
        expiresAt - renewBeforeMs,
        obtainedAt + (expiresAt - obtainedAt) / 2,
      );
      cache.set(key, { credential, obtainedAt, refreshAt });
      return credential;
    });

  const refreshInBackground = (
    key: string,
    entry: CacheEntry<T>,
    obtain: (signal: AbortSignal) => Promise<T>,
  ): void => {
    entry.refreshAt = now() + backgroundRefreshMs;
    obtainAndCache(key, AbortSignal.timeout(backgroundRefreshMs), obtain).catch(
      (thrown: unknown) => {
        onFailure?.(toSecretError(thrown));
      },
    );
  };

  return {
    async get(key, signal, obtain) {
      signal.throwIfAborted();
      const entry = cache.get(key);
      if (entry === undefined || now() >= (entry.credential.expiresAt ?? Infinity) - expiryMarginMs)
        return obtainAndCache(key, signal, obtain);
      if (now() >= entry.refreshAt) refreshInBackground(key, entry, obtain);
      return entry.credential;
    },
    refused(key, credential) {
      const entry = cache.peek(key);
      if (
        entry?.credential === credential &&
        !isRecent(entry.obtainedAt, minInvalidationAgeMs, now())
      )
        cache.delete(key);
    },
  };
}

/**
 * Runs a login, and tells an outage of it from one of the store.
 * @param signal fires when nobody waits any more
 * @param about for messages: whose keys they are, and what to do where the outage does not say
 * @throws SecretError CREDENTIALS_UNAVAILABLE for an outage; else what `work` throws; the signal's reason where it has fired
 */
export async function runLogin<T>(
  signal: AbortSignal,
  { owner, hint }: { readonly owner: string; readonly hint: string },
  login: () => Promise<T>,
): Promise<T> {
  try {
    return await login();
  } catch (thrown) {
    signal.throwIfAborted();
    const error = toSecretError(thrown);
    if (error.kind !== 'outage' || error.code === 'CREDENTIALS_UNAVAILABLE') throw error;
    throw new SecretError('CREDENTIALS_UNAVAILABLE', `no keys for ${owner}: ${error.message}`, {
      hint: error.hint ?? hint,
    });
  }
}
