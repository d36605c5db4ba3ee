import type { SecretError } from './errors.ts';
import type { Plan, PlanResult, SecretRef } from './plan.ts';
import type { Parameters, Workload } from './workload.ts';

/**
 * What every provider offers. All that differs between the vendors' YAML ends in `plan`; all that differs between their
 * rules of who may read ends in `admit`; all that differs between their APIs ends in `fetch`.
 */
export type Provider<Login = unknown, NodeFacts = unknown, Credentials = unknown> = {
  /** The `spec.provider` it answers to, and the name of its socket. */
  readonly name: string;

  /**
   * What is constant for a node and left open by the parameters. No I/O for what they settle. Successes are remembered
   * by the provider, failures never.
   * @throws SecretError
   */
  nodeFacts(parameters: Parameters, signal: AbortSignal): Promise<NodeFacts>;

  /** Compiles a class. Pure: equal input, equal answer. Offline lint passes no facts. */
  plan(parameters: Parameters, nodeFacts?: NodeFacts): PlanResult<Login>;

  /**
   * One grant for each of `plan.refs`, in their order, or a refusal of the first that is not allowed.
   * @throws SecretError; whatever cannot be decided is refused.
   */
  authorize(
    workload: Workload,
    plan: Plan<Login>,
    context: AuthorizeContext,
  ): Promise<readonly Grant<Credentials>[]>;

  /**
   * Starts reading and answers at once: one promise a request, in order, so that a slow secret holds up none of the
   * others. The promises never reject; what was thrown is a `failed` result. A store without batches loops; one with
   * batches ends a batch when the signals of all its requests have fired.
   */
  fetch(requests: readonly FetchRequest<Credentials>[]): readonly Promise<FetchResult>[];

  /** Prolongs a lease. @throws SecretError when nobody answered; the lease then lives on until its end. */
  renew?(
    grant: Grant<Credentials>,
    lease: Lease,
    signal: AbortSignal,
  ): Promise<{ readonly kind: 'renewed'; readonly expiresAt: number } | { readonly kind: 'ended' }>;

  /** Gives a lease back. @throws SecretError */
  release?(grant: Grant<Credentials>, lease: Lease, signal: AbortSignal): Promise<void>;

  /** Ends what the provider keeps open. */
  close?(signal: AbortSignal): Promise<void>;
};

/** The circumstances of an admission. */
export type AuthorizeContext = {
  /** Fires at the request's deadline or when the caller leaves. */
  readonly signal: AbortSignal;
  /**
   * Milliseconds since the epoch: what is read to decide (annotations, roles) must have been asked for at or after this
   * moment. Older answers are not good enough.
   */
  readonly notBefore: number;
};

/** Whom the store sees. */
export type Principal<Credentials = unknown> = {
  /** From {@link createFingerprint}: differs whenever the store's answer could. The beginning of every cache key. */
  readonly fingerprint: string;
  /** For the log and the audit: `agency of the node`, `role arn:...`. No secret. */
  readonly description: string;
  /** `own`: the workload's tokens, or keys it brought. `shared`: everybody else's identity. */
  readonly identity: 'own' | 'shared';
  /** Lazy, so that a cached mount logs in nowhere. Cached and single-flight inside. @throws SecretError */
  credentials(signal: AbortSignal): Promise<Credentials>;
};

declare const granted: unique symbol;

/** This workload may read this ref as this principal. Only a provider's `admit` makes one, by `grant()` in grant.ts. */
export type Grant<Credentials = unknown> = {
  readonly [granted]: true;
  readonly ref: SecretRef;
  readonly principal: Principal<Credentials>;
  readonly workload: Workload;
  /**
   * `principal`: its value serves every workload with this principal. `pod`: nobody else, until an answer says
   * `shareable`.
   */
  readonly scope: 'principal' | 'pod';
  /** One for each of the ref's fallbacks, with its principal for that region. */
  readonly fallbacks: readonly Grant<Credentials>[];
};

/** One question to the store. */
export type FetchRequest<Credentials = unknown> = {
  readonly grant: Grant<Credentials>;
  /** What is cached already; the store may then answer `unchanged`. */
  readonly known?: { readonly version?: string; readonly lease?: Lease };
  /** `first`: a mount waits that has nothing yet; `refresh`: a cached value could serve. First mounts get budget first. */
  readonly urgency: 'first' | 'refresh';
  /** Fires when nobody waits for this answer any more, or 30 s after `onStart`. */
  readonly signal: AbortSignal;
  /** To be called when the rate budget lets the call go: the flight's own deadline counts from then. */
  readonly onStart: () => void;
};

/** What a store answered to one question. */
export type FetchResult =
  | { readonly kind: 'value'; readonly value: SecretValue }
  /** Only where `known` was given: the version still stands. Renews freshness, not authorization. */
  | { readonly kind: 'unchanged'; readonly version?: string; readonly expiresAt?: number }
  /** There is no such secret, or it is disabled; `error` says so to whom it is not optional. */
  | { readonly kind: 'absent'; readonly error: SecretError }
  | { readonly kind: 'failed'; readonly error: SecretError };

/** A secret as the store delivered it. Never written to once made. */
export type SecretValue = {
  /** What the selector `whole` writes. */
  readonly bytes: Uint8Array;
  /**
   * JSON in which the other selectors look, where it is not `bytes` (Vault unwraps its envelope): its text, so that numbers keep their
   * characters.
   */
  readonly document?: string;
  /** The store's version; absent where the store has none: then the version is an HMAC of the file's bytes. */
  readonly version?: string;
  /** `bytes` hold more than `version` stands for (a Vault envelope): a whole file is versioned by HMAC. */
  readonly envelope?: boolean;
  /** Joins the hash of every file's version, where the store's numbers can start again (SSM, OOS): the modification time. */
  readonly modified?: string;
  /** This version never changes: a republish needs no further question. */
  readonly immutable?: boolean;
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number;
  readonly lease?: Lease;
  /** For pod scope: this ref's answers may serve every workload of the principal. */
  readonly shareable?: boolean;
};

/** A right that ends, and that can be prolonged or given back. */
export type Lease = {
  readonly id: string;
  readonly renewable: boolean;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
};

/** What came of one grant. */
export type Outcome =
  | {
      readonly kind: 'value';
      readonly ref: SecretRef;
      readonly served: SecretRef;
      readonly value: SecretValue;
    }
  | { readonly kind: 'absent'; readonly ref: SecretRef; readonly error: SecretError }
  | { readonly kind: 'failed'; readonly ref: SecretRef; readonly error: SecretError };
