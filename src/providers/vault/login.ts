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
