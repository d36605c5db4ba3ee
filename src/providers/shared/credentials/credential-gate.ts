import { LRUCache } from 'lru-cache';
import type { Refusals } from '../../../concurrency/rejection-cache.ts';
import { race } from '../../../concurrency/single-flight.ts';
import { type ErrorCode, type SecretError, toSecretError } from '../../../core/errors.ts';

/** See {@link createProving}. */
export type Proving = {
  /** For who has waited since: @throws the remembered CREDENTIALS_REFUSED */
  check(key: string): void;
  /**
   * Runs `call`, which uses the credential that `key` is a digest of.
   * @throws what `call` throws, or threw for the one who went first; the remembered CREDENTIALS_REFUSED; the signal's reason where it
   *   fires first. Errors go to many, so `call` must not name what is one caller's alone.
   */
  run<T>(key: string, signal: AbortSignal, call: () => Promise<T>): Promise<T>;
};

/** What a call told of its credential. `unanswered`: the store is away, for the others too. `open`: nothing. */
type Verdict =
  | { readonly kind: 'accepted' | 'open' }
  | { readonly kind: 'refused' | 'unanswered'; readonly error: SecretError };

/**
 * Lets a credential that nobody has seen accepted yet be used by one call at a time, so that 500 mounts with a wrong key make one bad
 * call and not 500: Huawei Cloud locks a key after five. A refused one is not used again while `refusals` remembers it.
 */
export function createProving({
  refusals,
  max = 1_000,
}: {
  readonly refusals: Refusals;
  /** How many credentials are remembered as good. */
  readonly max?: number;
}): Proving {
  const proven = new LRUCache<string, true>({ max });
  const underWay = new Map<string, Promise<Verdict>>();

  const learn = (key: string, verdict: Verdict): Verdict => {
    if (verdict.kind === 'accepted') {
      proven.set(key, true);
      refusals.accept(key);
    } else if (verdict.kind === 'refused') {
      proven.delete(key);
      refusals.refuse(key, verdict.error);
    }
    return verdict;
  };

  return {
    check: (key) => refusals.check(key),
    async run(key, signal, call) {
      for (;;) {
        signal.throwIfAborted();
        refusals.check(key);
        const first = proven.has(key) ? undefined : underWay.get(key);
        if (first === undefined) break;
        const verdict = await race(first, signal);
        if ('error' in verdict) throw verdict.error;
      }
      const result = call();
      const verdict = result.then(
        () => learn(key, { kind: 'accepted' }),
        (thrown: unknown) => learn(key, judge(toSecretError(thrown), signal)),
      );
      if (!proven.has(key)) {
        const mine = verdict.finally(() => underWay.delete(key));
        underWay.set(key, mine);
      }
      await verdict;
      return result;
    },
  };
}

function judge(error: SecretError, signal: AbortSignal): Verdict {
  if (error.code === 'CREDENTIALS_REFUSED') return { kind: 'refused', error };
  if (error.kind === 'definite') return { kind: 'accepted' };
  return away.has(error.code) && !signal.aborted ? { kind: 'unanswered', error } : { kind: 'open' };
}

const away: ReadonlySet<ErrorCode> = new Set(['STORE_UNAVAILABLE', 'STORE_TIMEOUT', 'STORE_THROTTLED']);
