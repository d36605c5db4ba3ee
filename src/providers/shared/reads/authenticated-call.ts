import { runAs } from '../../../concurrency/caller.ts';
import type { RateLimiter } from '../../../concurrency/rate-limiter.ts';
import { type SecretError, toSecretError } from '../../../core/errors.ts';
import type { SecretRef } from '../../../core/plan.ts';
import type { FetchRequest, Grant } from '../../../core/provider.ts';
import type { Workload } from '../../../core/workload.ts';
import type { CredentialGate } from '../credentials/credential-gate.ts';

/** The part of a fetch request that a call needs. Requests of one batch differ in the ref only. */
export type CallRequest<C> = Pick<
  FetchRequest<C>,
  'urgency' | 'patience' | 'signal' | 'onStart'
> & {
  readonly grant: Pick<Grant<C>, 'ref' | 'principal'> & {
    readonly workload: Pick<Workload, 'tenant'>;
  };
};

/** What a call to a store needs to know about its caller. */
export type CallContext<C> = {
  /** The region of the ref; empty where a store has one region only. */
  readonly region: string;
  /** The principal's fingerprint. */
  readonly fingerprint: string;
  readonly credential: C;
  /** The owner of the credential, for messages. */
  readonly owner: string;
  readonly signal: AbortSignal;
  /**
   * Waits for the rate limiter. The call awaits it before each attempt, so that a retry costs as
   * much of the rate as a first attempt.
   * @throws SecretError RATE_BUDGET_EXHAUSTED; CREDENTIALS_REFUSED where the store refused the
   *   credential in the meantime; the signal's reason
   */
  readonly beforeAttempt: () => Promise<void>;
};

/** Calls a store on behalf of a principal. */
export type AuthenticatedCall<C> = <T>(
  request: CallRequest<C>,
  call: (context: CallContext<C>) => Promise<T>,
) => Promise<T>;

/** See {@link createAuthenticatedCall}. */
export type AuthenticatedCallDeps<C> = {
  /**
   * For stores that lock a key after some bad signatures. `digestOf` is equal for equal
   * credentials; see `digestOf` in fingerprint.ts. It includes the parts of the ref that decide
   * whether the store knows the credential.
   */
  readonly gate?: {
    readonly credentialGate: CredentialGate;
    readonly digestOf: (credential: C, ref: SecretRef) => string;
  };
  readonly credentials: {
    /** @returns whether `principal.credentials` now gives another credential */
    invalidate(fingerprint: string, credential: C): boolean;
  };
  /** The limiter of the store that this call loads. */
  readonly rateLimiterOf: (ref: SecretRef, credential: C) => RateLimiter;
  /** Whether a new login can help. Default: the store refused the credential. */
  readonly isCredentialError?: (error: SecretError) => boolean;
};

/**
 * Makes the one call path of the remote providers: credentials, credential gate, rate limiter.
 * All of it runs on behalf of the workload's namespace (`Caller`), the login too.
 * A session can end before its time. So after a refusal the call logs in once more and repeats.
 */
export function createAuthenticatedCall<C>({
  gate,
  credentials,
  rateLimiterOf,
  isCredentialError = ({ code }) => code === 'CREDENTIALS_REFUSED',
}: AuthenticatedCallDeps<C>): AuthenticatedCall<C> {
  const callWithCredential = <T>(
    { grant, urgency, signal, onStart }: CallRequest<C>,
    credential: C,
    call: (context: CallContext<C>) => Promise<T>,
  ): Promise<T> => {
    const { ref, principal, workload } = grant;
    const { fingerprint, description: owner } = principal;
    const digest = gate?.digestOf(credential, ref) ?? '';
    const beforeAttempt = async (): Promise<void> => {
      await rateLimiterOf(ref, credential).acquire({ namespace: workload.tenant, urgency, signal });
      gate?.credentialGate.throwIfRejected(digest);
      onStart();
    };
    const context = {
      region: ref.region ?? '',
      fingerprint,
      credential,
      owner,
      signal,
      beforeAttempt,
    };
    if (gate === undefined) return call(context);
    return gate.credentialGate.run(digest, signal, () => call(context));
  };

  const callAgainAfterLogin = async <T>(
    request: CallRequest<C>,
    call: (context: CallContext<C>) => Promise<T>,
  ): Promise<T> => {
    const { principal } = request.grant;
    const credential = await principal.credentials(request.signal);
    try {
      return await callWithCredential(request, credential, call);
    } catch (thrown) {
      if (!isCredentialError(toSecretError(thrown))) throw thrown;
      if (!credentials.invalidate(principal.fingerprint, credential)) throw thrown;
      // Where the new credential equals the refused one, the gate rejects it without a call.
      return callWithCredential(request, await principal.credentials(request.signal), call);
    }
  };

  return (request, call) => {
    const { grant, patience = () => 0 } = request;
    const caller = { namespace: grant.workload.tenant, patience };
    return runAs(caller, () => callAgainAfterLogin(request, call));
  };
}
