import type { Redacted } from '../../core/redacted.ts';
import type { NameGlob } from '../../formats/name-glob.ts';

/**
 * How a class logs in, after defaults and allow-lists. It never holds a token or a key.
 */
export type VaultLogin = {
  /** The provider name of the class. It changes defaults, names and messages, and nothing else. */
  readonly dialect: 'vault' | 'openbao';
  /**
   * In the order of their use: `https://vault:8200`, `unix:///run/agent.sock`. Canonical, at least
   * one.
   */
  readonly addresses: readonly string[];
  /** Vault Enterprise or OpenBao namespace. */
  readonly namespace?: string;
  readonly method: AuthMethod;
  /** Below `auth/`, without slashes at its ends: `kubernetes`. Unused by method `token`. */
  readonly mount: string;
  readonly role?: string;
  /** Of the pod's token, for methods `kubernetes` and `jwt`. */
  readonly audience: string;
  readonly tls: VaultTls;
  /** `pod`: a lease serves only the pod that read it. */
  readonly leaseScope: 'pod' | 'serviceAccount';
  /**
   * For methods `kubernetes` and `jwt`: the role can bind the pod, and not only the account. True
   * for a mount of the method jwt, and for one that may be: the vendors' classes name no method.
   */
  readonly mayBindPod?: boolean;
  /**
   * A host without Kubernetes logs in, as its own configuration says. Its token is renewed whether
   * it is used or not, a given one too. Messages name keys of dso.yaml.
   */
  readonly isHost?: boolean;
};

export type AuthMethod = 'kubernetes' | 'jwt' | 'approle' | 'cert' | 'token';

/** Files are paths on the node that the operator configured or allowed. */
export type VaultTls = {
  readonly skipVerify?: boolean;
  readonly caFile?: string;
  readonly caDirectory?: string;
  readonly serverName?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
};

/** The operator's values for what a class leaves out, and what classes may choose instead. */
export type VaultNodeFacts = {
  /** Canonical; see `parseOperatorAddress`. Empty where none is configured. */
  readonly addresses: readonly string[];
  readonly namespace?: string;
  readonly mounts: Readonly<Record<AuthMethod, string>>;
  readonly tls: VaultTls;
  /** As the operator wrote them, with the configured ones. */
  readonly allowedAddresses: readonly string[];
  readonly allowedFiles: readonly NameGlob[];
  readonly allowSkipVerify: boolean;
};

export const defaultMounts: VaultNodeFacts['mounts'] = {
  kubernetes: 'kubernetes',
  jwt: 'jwt',
  approle: 'approle',
  cert: 'cert',
  token: 'token',
};

/** A login: where and how (`login`), and with what. */
export type VaultIdentity = {
  readonly login: VaultLogin;
  /**
   * Runs at each login, so that it finds a rotated file or gets a new token.
   * @throws SecretError
   */
  readonly getCredential: (signal: AbortSignal) => Promise<VaultCredential>;
};

export type VaultCredential =
  /** Methods `kubernetes` and `jwt`. */
  | { readonly kind: 'jwt'; readonly token: Redacted }
  | { readonly kind: 'approle'; readonly roleId: Redacted; readonly secretId?: Redacted }
  /** The client certificate of `login.tls`. */
  | { readonly kind: 'cert' }
  /**
   * No login: the token itself. Keyferry never revokes it, and renews it only for a host without
   * Kubernetes.
   */
  | { readonly kind: 'token'; readonly token: Redacted };

/** The result of a login. One object for one token: compare by identity. */
export type VaultSession = {
  readonly login: VaultLogin;
  readonly token: Redacted;
  /** Milliseconds since the epoch; absent: never. */
  readonly expiresAt?: number;
  /** When Keyferry logged in, in milliseconds since the epoch; absent for method `token`. */
  readonly loggedInAt?: number;
};
