import type { Redacted } from '../../core/redacted.ts';
import type { NameGlob } from '../shared/identity/name-glob.ts';

/** What the parameters of a class say of how to log in, defaults and allow-list applied. Never a token or a key. */
export type VaultLogin = {
  /** Which provider name the class used; differs in defaults and in nothing else. */
  readonly dialect: 'vault' | 'openbao';
  /** Asked in this order: `https://vault:8200`, or `unix:///run/agent.sock`. Canonical, at least one. */
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
   * Of methods `kubernetes` and `jwt`: whether its role may look at the pod, and not at the account alone. So it is for a mount of the method jwt, and
   * for one that nobody says is none: the vendors' classes name no method.
   */
  readonly mayBindPod?: boolean;
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

/** What an operator configured for classes that leave it open, and what classes may ask for beside it. */
export type VaultNodeFacts = {
  /** In their kept form; see `operatorAddress`. Perhaps none. */
  readonly addresses: readonly string[];
  readonly namespace?: string;
  readonly mounts: Readonly<Record<AuthMethod, string>>;
  readonly tls: VaultTls;
  /** As the operator wrote them, the configured ones among them. */
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

/** Who logs in: where and how (`login`), and with what. */
export type VaultIdentity = {
  readonly login: VaultLogin;
  /** Asked for at each login, so that a rotated file or a minted token is found. @throws SecretError */
  readonly getCredential: (signal: AbortSignal) => Promise<VaultCredential>;
};

export type VaultCredential =
  /** Methods `kubernetes` and `jwt`. */
  | { readonly kind: 'jwt'; readonly token: Redacted }
  | { readonly kind: 'approle'; readonly roleId: Redacted; readonly secretId?: Redacted }
  /** The client certificate of `login.tls` speaks for itself. */
  | { readonly kind: 'cert' }
  /** No login: the token itself, the operator's or an agent's. Never renewed or revoked by us. */
  | { readonly kind: 'token'; readonly token: Redacted };

/** What a login gave. One object for one token: compare by identity. */
export type VaultSession = {
  readonly login: VaultLogin;
  readonly token: Redacted;
  /** Milliseconds since the epoch; absent: never. */
  readonly expiresAt?: number;
  /** Milliseconds since the epoch of our own login; absent for method `token`. */
  readonly loggedInAt?: number;
};
