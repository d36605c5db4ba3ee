import { LRUCache } from 'lru-cache';
import { type Caller, currentCaller, outlasts } from '../../../concurrency/caller.ts';
import type { RejectionCache } from '../../../concurrency/rejection-cache.ts';
import { raceWithAbort } from '../../../concurrency/deadline.ts';
import { isTransient } from '../../../concurrency/retry.ts';
import { isRecent } from '../../../concurrency/time.ts';
import { type SecretError, toSecretError } from '../../../core/errors.ts';

/** How long an accepted call lets other calls with the same credential go at the same time. */
const acceptanceMs = 1_000;
/** How long a call waits for the probe of a credential that the store accepted before. */
const reprobeWaitMs = 1_000;

/**
 * What a call shows about its credential.
 * - `accepted`: the store took it.
 * - `refused`: the store did not take it.
 * - `unavailable`: the store is away, for other calls too.
 * - `inconclusive`: nothing.
 */
type ProbeOutcome =
  | { readonly kind: 'accepted' | 'inconclusive' }
  | { readonly kind: 'refused' | 'unavailable'; readonly error: SecretError };

type Probe = { readonly starter: Caller; readonly outcome: Promise<ProbeOutcome> };

/**
 * Limits the calls with a credential that the store has not accepted within the last second to one
 * at a time, the probe. So 500 mounts with a wrong or a revoked key make one bad call and not 500:
 * Huawei Cloud locks a key after five. While the rejection cache remembers a refused credential, no
 * call uses it.
 *
 * A credential that the store accepted before is probably good. Its callers wait for the probe for
 * a second at most, and the probe's other failures are not theirs.
 */
export class CredentialGate {
  readonly #rejectionCache: RejectionCache;
  readonly #now: () => number;
  /** When the store last accepted each credential. */
  readonly #acceptedAt: LRUCache<string, number>;
  readonly #probes = new Map<string, Probe>();

  /**
   * @param options.now milliseconds
   * @param options.max how many accepted credentials the gate remembers; default 1,000
   */
  constructor({
    rejectionCache,
    now,
    max = 1_000,
  }: {
    readonly rejectionCache: RejectionCache;
    readonly now: () => number;
    readonly max?: number;
  }) {
    this.#rejectionCache = rejectionCache;
    this.#now = now;
    this.#acceptedAt = new LRUCache({ max });
  }

  /**
   * For calls that waited since they passed the gate.
   * @throws the remembered CREDENTIALS_REFUSED
   */
  throwIfRejected(key: string): void {
    this.#rejectionCache.throwIfRejected(key);
  }

  /**
   * Runs `call`, which uses the credential that `key` is a digest of.
   * @throws what `call` throws; what the probe of an unknown credential threw; the remembered
   *   CREDENTIALS_REFUSED; the signal's reason if it fires first. Many callers can get one error,
   *   so `call` must not name the secret of one caller.
   */
  async run<T>(key: string, signal: AbortSignal, call: () => Promise<T>): Promise<T> {
    // No await between the check for a probe and the start of the next one.
    for (;;) {
      signal.throwIfAborted();
      this.#rejectionCache.throwIfRejected(key);
      const probe = this.#isAccepted(key) ? undefined : this.#probes.get(key);
      if (probe === undefined) break;
      if (this.#acceptedAt.has(key)) {
        await withinTime(reprobeWaitMs, raceWithAbort(probe.outcome, signal));
        this.#rejectionCache.throwIfRejected(key);
        break;
      }
      const outcome = await raceWithAbort(probe.outcome, signal);
      if (outcome.kind === 'refused') throw outcome.error;
      // A caller with more patience makes the next probe.
      if (
        outcome.kind === 'unavailable' &&
        !outlasts(currentCaller().patience, probe.starter.patience)
      )
        throw outcome.error;
    }
    const result = call();
    const outcome = result.then(
      () => this.#recordOutcome(key, { kind: 'accepted' }),
      (thrown: unknown) => this.#recordOutcome(key, classifyOutcome(toSecretError(thrown), signal)),
    );
    if (!this.#isAccepted(key) && !this.#probes.has(key)) {
      const starter = currentCaller();
      this.#probes.set(key, { starter, outcome: outcome.finally(() => this.#probes.delete(key)) });
    }
    await outcome;
    return result;
  }

  #isAccepted(key: string): boolean {
    return isRecent(this.#acceptedAt.get(key), acceptanceMs, this.#now());
  }

  #recordOutcome(key: string, outcome: ProbeOutcome): ProbeOutcome {
    if (outcome.kind === 'accepted') {
      this.#acceptedAt.set(key, this.#now());
      this.#rejectionCache.recordSuccess(key);
    } else if (outcome.kind === 'refused') {
      this.#acceptedAt.delete(key);
      this.#rejectionCache.recordRejection(key, outcome.error);
    }
    return outcome;
  }
}

function classifyOutcome(error: SecretError, signal: AbortSignal): ProbeOutcome {
  if (error.code === 'CREDENTIALS_REFUSED') return { kind: 'refused', error };
  if (error.kind === 'definite') return { kind: 'accepted' };
  return isTransient(error) && !signal.aborted
    ? { kind: 'unavailable', error }
    : { kind: 'inconclusive' };
}

/** Waits for `work`, but not longer than `ms`. */
async function withinTime(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  try {
    await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
