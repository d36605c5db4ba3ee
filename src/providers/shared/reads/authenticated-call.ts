import type { Budget } from '../../../concurrency/rate-limiter.ts';
import { toSecretError } from '../../../core/errors.ts';
import type { SecretRef } from '../../../core/plan.ts';
import type { FetchRequest } from '../../../core/provider.ts';
import type { Proving } from '../credentials/credential-gate.ts';

/** What is asked by one call: requests that differ in nothing but the object. */
export type Asking<C> = Pick<FetchRequest<C>, 'grant' | 'urgency' | 'signal' | 'onStart'>;

/** Who asks a store. */
export type Asker<C> = {
  /** Of what is read; empty where the store knows but one. */
  readonly region: string;
  /** The principal's fingerprint. */
  readonly principal: string;
  readonly credential: C;
  /** Whose the credential is, for messages. */
  readonly owner: string;
  readonly signal: AbortSignal;
  /**
   * To be awaited before each call: the rate budget.
   * @throws SecretError RATE_BUDGET_EXHAUSTED; CREDENTIALS_REFUSED where another call has found that out meanwhile; the signal's reason
   */
  readonly turn: () => Promise<void>;
};

/** Asks on behalf of a principal, by `call`. */
export type Attempts<C> = <T>(asking: Asking<C>, call: (asker: Asker<C>) => Promise<T>) => Promise<T>;

/** See {@link createAttempts}. */
export type AttemptsDeps<C> = {
  readonly proving: Proving;
  readonly credentials: { refused(fingerprint: string, credential: C): void };
  /** Equal for equal credentials; see {@link digestOf}. With what of the ref it takes, where one store's refusal says nothing of another. */
  readonly digestOf: (credential: C, ref: SecretRef) => string;
  /** Whose rate a call counts against. */
  readonly budgetOf: (ref: SecretRef, credential: C) => Budget;
};

/**
 * Calls within the rate of their store, by credentials that are proven. A session that ended before its time is refused like wrong keys: one
 * login more tells.
 */
export function createAttempts<C>({
  proving,
  credentials,
  digestOf,
  budgetOf,
}: AttemptsDeps<C>): Attempts<C> {
  const attempt = <T>(
    { grant, urgency, signal, onStart }: Asking<C>,
    credential: C,
    call: (asker: Asker<C>) => Promise<T>,
  ): Promise<T> => {
    const { ref, principal, workload } = grant;
    const { fingerprint, description: owner } = principal;
    const digest = digestOf(credential, ref);
    const turn = async (): Promise<void> => {
      await budgetOf(ref, credential).take({ namespace: workload.namespace, urgency, signal });
      proving.check(digest);
      onStart();
    };
    const asker = { region: ref.region ?? '', principal: fingerprint, credential, owner, signal, turn };
    return proving.run(digest, signal, () => call(asker));
  };

  return async (asking, call) => {
    const { principal } = asking.grant;
    const credential = await principal.credentials(asking.signal);
    try {
      return await attempt(asking, credential, call);
    } catch (thrown) {
      if (toSecretError(thrown).code !== 'CREDENTIALS_REFUSED') throw thrown;
      credentials.refused(principal.fingerprint, credential);
      // If these are the same keys, `proving` says at once that they are refused.
      return attempt(asking, await principal.credentials(asking.signal), call);
    }
  };
}
