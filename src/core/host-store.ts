import type { Redacted } from './redacted.ts';
import type { SecretRef } from './plan.ts';
import type { Grant, Principal, Provider } from './provider.ts';

/** The kinds of stores that a host reads, by the names that dso.yaml has for them. */
export const storeTypes = ['huawei', 'aws', 'vault', 'openbao', 'alibabacloud', 'local'] as const;

/** See {@link storeTypes}. */
export type StoreType = (typeof storeTypes)[number];

/** Where one store is, and how to log in to it. */
export type StoreConfig = {
  readonly type: StoreType;
  readonly region?: string | undefined;
  /** `huawei`: the project's id. */
  readonly projectId?: string | undefined;
  readonly endpoint?: string | undefined;
  /** `aws`, `alibabacloud`: the role to assume. */
  readonly roleArn?: string | undefined;
  /** `vault`, `openbao`: at least one URL, in the order in which they are tried. */
  readonly addresses?: readonly string[] | undefined;
  /** `vault`, `openbao`. */
  readonly namespace?: string | undefined;
  /** `vault`, `openbao`: certificates of the server's authorities, in PEM. */
  readonly caFile?: string | undefined;
  /** `vault`, `openbao`. */
  readonly tlsServerName?: string | undefined;
  /** `local`. */
  readonly storeFile?: string | undefined;
  /** `local`. */
  readonly keyFile?: string | undefined;
  readonly auth?: StoreAuth | undefined;
  /** The name of the store that is read when this one does not respond to a start. */
  readonly fallback?: string | undefined;
};

/** How to log in to a store. */
export type StoreAuth = {
  readonly method: string;
  /** Parameters of the method, such as `role_id`. */
  readonly params: ReadonlyMap<string, string>;
  /** Parameters that are secret, such as `secret_id`. */
  readonly credentials: ReadonlyMap<string, Redacted>;
};

/**
 * A store as a host without Kubernetes reads it: always with the host's own identity. Which
 * application may read what is decided before, by the grants of the host.
 */
export type HostStore<Credentials = unknown> = Pick<
  Provider<unknown, unknown, Credentials>,
  'fetch' | 'renew' | 'release' | 'handOver' | 'takeOver' | 'close'
> & {
  /**
   * The scope of grants for this store. `pod`: a read can issue a credential, which serves one
   * service alone. Default `principal`.
   */
  readonly grantScope?: Grant['scope'];
  /**
   * The ref of a path, as it stands in `dso://PATH`. Pure: the region and the endpoint are those
   * of the configuration.
   * @throws SecretError INVALID_CLASS for a path that the store cannot have; NOT_GRANTED for one
   *   that no application may read; NOT_CONFIGURED if the configuration lacks what the store needs,
   *   such as a region
   */
  refFor(path: string): SecretRef;
  /**
   * The host's identity in this store. Its `kind` is `shared`. No login: `credentials` logs in.
   * @throws SecretError
   */
  principal(signal: AbortSignal): Promise<Principal<Credentials>>;
  /**
   * Logs in, and does one harmless call if the store has one.
   * @throws SecretError with the first cause that keeps the store from being read
   */
  check(signal: AbortSignal): Promise<void>;
  /** The steps of `check`, in order. Absent: it has one. */
  readonly checkSteps?: readonly CheckStep[];
  /**
   * The secrets of the store, without values. Absent: the store cannot list them.
   * @throws SecretError
   */
  list?(signal: AbortSignal): Promise<readonly ListedSecret[]>;
};

/** One step of a check. It needs those before it. */
export type CheckStep = {
  /** What it does: `log in by approle`. */
  readonly name: string;
  /**
   * @returns what it found, in a few words, safe to show
   * @throws SecretError
   */
  run(signal: AbortSignal): Promise<string>;
};

/** One secret of a list. */
export type ListedSecret = {
  /** The path of a reference. */
  readonly path: string;
  readonly version?: string;
  /** Milliseconds since the epoch. */
  readonly changedAt?: number;
};
