import { LRUCache } from 'lru-cache';
import type { RejectionCache } from '../../../concurrency/rejection-cache.ts';
import { raceWithAbort } from '../../../concurrency/single-flight.ts';
import { type ErrorCode, type SecretError, toSecretError } from '../../../core/errors.ts';

/** See {@link createCredentialGate}. */
export type CredentialGate = {
  /** For who has waited since: @throws the remembered CREDENTIALS_REFUSED */
  throwIfRejected(key: string): void;
  /**
   * Runs `call`, which uses the credential that `key` is a digest of.
   * @throws what `call` throws, or threw for the one who went first; the remembered CREDENTIALS_REFUSED; the signal's reason where it
   *   fires first. Errors go to many, so `call` must not name what is one caller's alone.
   */
  run<T>(key: string, signal: AbortSignal, call: () => Promise<T>): Promise<T>;
};

/** What a call told of its credential. `unanswered`: the store is away, for the others too. `open`: nothing. */
type CallOutcome =
  | { readonly kind: 'accepted' | 'open' }
  | { readonly kind: 'refused' | 'unanswered'; readonly error: SecretError };

/**
 * Lets a credential that nobody has seen accepted yet be used by one call at a time, so that 500 mounts with a wrong key make one bad
 * call and not 500: Huawei Cloud locks a key after five. A refused one is not used again while `refusals` remembers it.
 */
export function createCredentialGate({
  rejectionCache,
  max = 1_000,
}: {
  readonly rejectionCache: RejectionCache;
  /** How many credentials are remembered as good. */
  readonly max?: number;
}): CredentialGate {
  const acceptedKeys = new LRUCache<string, true>({ max });
  const inFlight = new Map<string, Promise<CallOutcome>>();

  const recordOutcome = (key: string, outcome: CallOutcome): CallOutcome => {
    if (outcome.kind === 'accepted') {
      acceptedKeys.set(key, true);
      rejectionCache.recordSuccess(key);
    } else if (outcome.kind === 'refused') {
      acceptedKeys.delete(key);
      rejectionCache.recordRejection(key, outcome.error);
    }
    return outcome;
  };

  return {
    throwIfRejected: (key) => rejectionCache.throwIfRejected(key),
    async run(key, signal, call) {
      for (;;) {
        signal.throwIfAborted();
        rejectionCache.throwIfRejected(key);
        const pendingOutcome = acceptedKeys.has(key) ? undefined : inFlight.get(key);
        if (pendingOutcome === undefined) break;
        const outcome = await raceWithAbort(pendingOutcome, signal);
        if ('error' in outcome) throw outcome.error;
      }
      const result = call();
      const outcome = result.then(
        () => recordOutcome(key, { kind: 'accepted' }),
        (thrown: unknown) => recordOutcome(key, classifyOutcome(toSecretError(thrown), signal)),
      );
      if (!acceptedKeys.has(key)) {
        const ownOutcome = outcome.finally(() => inFlight.delete(key));
        inFlight.set(key, ownOutcome);
      }
      await outcome;
      return result;
    },
  };
}

function classifyOutcome(error: SecretError, signal: AbortSignal): CallOutcome {
  if (error.code === 'CREDENTIALS_REFUSED') return { kind: 'refused', error };
  if (error.kind === 'definite') return { kind: 'accepted' };
  return outageCodes.has(error.code) && !signal.aborted
    ? { kind: 'unanswered', error }
    : { kind: 'open' };
}

const outageCodes: ReadonlySet<ErrorCode> = new Set([
  'STORE_UNAVAILABLE',
  'STORE_TIMEOUT',
  'STORE_THROTTLED',
]);
