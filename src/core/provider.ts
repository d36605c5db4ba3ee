import type { SecretError } from './errors.ts';
import type { Plan, PlanResult, SecretRef } from './plan.ts';
import type { Redacted } from './redacted.ts';
import type { Steps } from './steps.ts';
import type { Parameters, Workload } from './workload.ts';

/**
 * What every provider implements. `plan` handles the differences between the vendors' YAML,
 * `authorize` those between their rules of who may read, and `fetch` those between their APIs.
 */
export type Provider<Login = unknown, NodeFacts = unknown, Credentials = unknown> = {
  /** The value of `spec.provider`, and the name of its socket. */
  readonly name: string;

  /**
   * Facts that are constant for a node and that the parameters do not set. No I/O for what they
   * set. The provider caches successes, but never failures.
   * @throws SecretError
   */
  nodeFacts(parameters: Parameters, context: NodeFactsContext): Promise<NodeFacts>;

  /**
   * Compiles a class, which takes 100 ms of CPU time for a large one. Pure: equal input, equal
   * result. Offline lint passes no facts.
   */
  plan(parameters: Parameters, nodeFacts?: NodeFacts): Steps<PlanResult<Login>>;

  /**
   * Returns one grant for each of `plan.refs`, in their order.
   * @throws SecretError for the first ref that is not allowed; a ref that cannot be decided is
   *   denied
   */
  authorize(
    workload: Workload,
    plan: Plan<Login>,
    context: AuthorizeContext,
  ): Promise<readonly Grant<Credentials>[]>;

  /**
   * Starts the reads and returns one promise per request, in order, so that a slow secret does not
   * delay the others. The promises do not reject: an exception becomes a `failed` result. A
   * provider without batches loops. A provider with batches cancels a batch when the signals of all
   * its requests have fired.
   */
  fetch(requests: readonly FetchRequest<Credentials>[]): readonly Promise<FetchResult>[];

  /**
   * Prolongs a lease.
   * @throws SecretError during an outage; the lease then stays until it expires.
   */
  renew?(
    grant: Grant<Credentials>,
    lease: Lease,
    signal: AbortSignal,
  ): Promise<{ readonly kind: 'renewed'; readonly expiresAt: number } | { readonly kind: 'ended' }>;

  /** Releases a lease. @throws SecretError */
  release?(grant: Grant<Credentials>, lease: Lease, signal: AbortSignal): Promise<void>;

  /**
   * What a later process needs to keep this lease, as secret as the value itself.
   * @returns undefined if the lease ends with this process
   */
  handOver?(grant: Grant<Credentials>, lease: Lease): Redacted | undefined;

  /**
   * Keeps a lease that an earlier process has handed over. It makes no call.
   * @returns the lease as it is now; undefined if it has ended
   */
  takeOver?(grant: Grant<Credentials>, lease: Lease, handedOver: Redacted): Lease | undefined;

  /** Closes what the provider keeps open. */
  close?(signal: AbortSignal): Promise<void>;
};

/** The deadline of the facts, and how CPU time for them is used. */
export type NodeFactsContext = {
  readonly signal: AbortSignal;
  /** Runs a compilation that shows which facts the class needs. */
  readonly run: (compilation: Steps<PlanResult>) => Promise<PlanResult>;
};

/** The deadline and the required freshness of an authorization. */
export type AuthorizeContext = {
  /** Fires at the request's deadline, or when the caller cancels the request. */
  readonly signal: AbortSignal;
  /**
   * Milliseconds since the epoch. Annotations and roles that decide the authorization must have
   * been requested at or after this moment. Older responses must not be used.
   */
  readonly notBefore: number;
};

/** The identity that the store sees. */
export type Principal<Credentials = unknown> = {
  /**
   * From `createFingerprint`. Starts every cache key; it differs whenever the result could.
   */
  readonly fingerprint: string;
  /** For the log and the audit, for example `role arn:...`. Contains no secret. */
  readonly description: string;
  /** `own`: the workload's tokens, or keys that its pod supplied. `shared`: any other identity. */
  readonly kind: 'own' | 'shared';
  /**
   * Logs in on first use, so a cached mount needs no login. Cached, and one login at a time.
   * @throws SecretError
   */
  credentials(signal: AbortSignal): Promise<Credentials>;
};

/**
 * `--shared-identities`: what shared identities serve. `granted`: what the grants file lists.
 * `all`: every secret. `none`: nothing.
 */
export type SharedIdentityMode = 'granted' | 'all' | 'none';

declare const granted: unique symbol;

/**
 * Allows this workload to read this ref as this principal. Only `authorize` makes a new one,
 * with `grant()` in grant.ts.
 */
export type Grant<Credentials = unknown> = {
  readonly [granted]: true;
  readonly ref: SecretRef;
  readonly principal: Principal<Credentials>;
  readonly workload: Workload;
  /**
   * `principal`: the value serves all workloads with this principal. `pod`: it serves only this
   * workload, until a value is `shareable`.
   */
  readonly scope: 'principal' | 'pod';
  /** One for each of the ref's fallbacks, with its principal for that region. */
  readonly fallbacks: readonly Grant<Credentials>[];
};

/**
 * `first`: the mount has no value yet. `refresh`: a cached value could serve it. The rate limiter
 * prefers first mounts.
 */
export type Urgency = 'first' | 'refresh';

/**
 * How much longer a first mount waits for a store that is away, in milliseconds. 0: a call that
 * failed gets a few quick retries only.
 */
export type Patience = () => number;

/** One read of a secret from the store. */
export type FetchRequest<Credentials = unknown> = {
  readonly grant: Grant<Credentials>;
  /** What is already cached. The result may then be `unchanged`. */
  readonly known?: { readonly version?: string; readonly lease?: Lease };
  readonly urgency: Urgency;
  /** Default: none. */
  readonly patience?: Patience;
  /** Fires when no caller waits for the result any more, or 30 s after `onStart`. */
  readonly signal: AbortSignal;
  /**
   * The provider calls it when its rate limiter lets an attempt go. The read's own deadline starts
   * with the first call. A provider without a rate limiter does not call it.
   */
  readonly onStart: () => void;
};

/** The result of one read. */
export type FetchResult =
  | { readonly kind: 'value'; readonly value: SecretValue }
  /**
   * Only if `known` was given: the version is still current. Renews freshness, not authorization.
   */
  | { readonly kind: 'unchanged'; readonly version?: string; readonly expiresAt?: number }
  /** There is no such secret, or it is disabled. `error` is for mounts where it is not optional. */
  | { readonly kind: 'absent'; readonly error: SecretError }
  | { readonly kind: 'failed'; readonly error: SecretError };

/** A secret as the store delivered it. Must not be modified. */
export type SecretValue = {
  /** What the selector `whole` writes. */
  readonly bytes: Uint8Array;
  /**
   * The JSON text for the other selectors, if it differs from `bytes` (Vault: without the
   * envelope). It is text so that numbers keep their characters.
   */
  readonly document?: string;
  /** The remedy where a selector other than `whole` finds that the secret is not JSON. */
  readonly keysHint?: string;
  /** The store's version. If the store has none, the file's version is an HMAC of its bytes. */
  readonly version?: string;
  /**
   * `bytes` contain more than `version` covers (a Vault envelope): a whole file gets an HMAC as
   * version.
   */
  readonly envelope?: boolean;
  /**
   * The modification time, which is part of each file's version hash. For stores whose version
   * numbers can restart (SSM, OOS).
   */
  readonly modified?: string;
  /** This version never changes: a republish needs no read. */
  readonly immutable?: boolean;
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number;
  readonly lease?: Lease;
  /** For pod scope: the ref's values may serve all workloads of the principal. */
  readonly shareable?: boolean;
};

/** A credential with an expiry that can be renewed or released. */
export type Lease = {
  readonly id: string;
  readonly renewable: boolean;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
};

/** The result of reading one grant. `served` is the ref that was read: `ref` or a fallback. */
export type Outcome =
  | {
      readonly kind: 'value';
      readonly ref: SecretRef;
      readonly served: SecretRef;
      readonly value: SecretValue;
    }
  | { readonly kind: 'absent'; readonly ref: SecretRef; readonly error: SecretError }
  | { readonly kind: 'failed'; readonly ref: SecretRef; readonly error: SecretError };
