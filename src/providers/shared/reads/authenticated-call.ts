import type { RateLimiter } from '../../../concurrency/rate-limiter.ts';
import { toSecretError } from '../../../core/errors.ts';
import type { SecretRef } from '../../../core/plan.ts';
import type { FetchRequest } from '../../../core/provider.ts';
import type { CredentialGate } from '../credentials/credential-gate.ts';

/** What is asked by one call: requests that differ in nothing but the object. */
export type CallRequest<C> = Pick<FetchRequest<C>, 'grant' | 'urgency' | 'signal' | 'onStart'>;

/** Who asks a store. */
export type CallContext<C> = {
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
  readonly beforeCall: () => Promise<void>;
};

/** Asks on behalf of a principal, by `call`. */
export type AuthenticatedCall<C> = <T>(
  request: CallRequest<C>,
  call: (context: CallContext<C>) => Promise<T>,
) => Promise<T>;

/** See {@link createAuthenticatedCall}. */
export type AuthenticatedCallDeps<C> = {
  readonly credentialGate: CredentialGate;
  readonly credentials: { refused(fingerprint: string, credential: C): void };
  /** Equal for equal credentials; see {@link digestOf}. With what of the ref it takes, where one store's refusal says nothing of another. */
  readonly digestOf: (credential: C, ref: SecretRef) => string;
  /** Whose rate a call counts against. */
  readonly rateLimiterOf: (ref: SecretRef, credential: C) => RateLimiter;
};

/**
 * Calls within the rate of their store, by credentials that are proven. A session that ended before its time is refused like wrong keys: one
 * login more tells.
 */
export function createAuthenticatedCall<C>({
  credentialGate,
  credentials,
  digestOf,
  rateLimiterOf,
}: AuthenticatedCallDeps<C>): AuthenticatedCall<C> {
  const callWithCredential = <T>(
    { grant, urgency, signal, onStart }: CallRequest<C>,
    credential: C,
    call: (context: CallContext<C>) => Promise<T>,
  ): Promise<T> => {
    const { ref, principal, workload } = grant;
    const { fingerprint, description: owner } = principal;
    const digest = digestOf(credential, ref);
    const beforeCall = async (): Promise<void> => {
      await rateLimiterOf(ref, credential).acquire({ namespace: workload.tenant, urgency, signal });
      credentialGate.throwIfRejected(digest);
      onStart();
    };
    const context = {
      region: ref.region ?? '',
      principal: fingerprint,
      credential,
      owner,
      signal,
      beforeCall,
    };
    return credentialGate.run(digest, signal, () => call(context));
  };

  return async (request, call) => {
    const { principal } = request.grant;
    const credential = await principal.credentials(request.signal);
    try {
      return await callWithCredential(request, credential, call);
    } catch (thrown) {
      if (toSecretError(thrown).code !== 'CREDENTIALS_REFUSED') throw thrown;
      credentials.refused(principal.fingerprint, credential);
      // If these are the same keys, `proving` says at once that they are refused.
      return callWithCredential(request, await principal.credentials(request.signal), call);
    }
  };
}
