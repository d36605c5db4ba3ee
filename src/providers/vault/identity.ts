import type { Redacted } from '../../errors/redacted.ts';
import type { VaultLogin } from './login.ts';

/** Who logs in: where and how (`login`), and with what. */
export type VaultIdentity = {
  readonly login: VaultLogin;
  /** Asked for at each login, so that a rotated file or a minted token is found. @throws SecretError */
  readonly proof: (signal: AbortSignal) => Promise<VaultProof>;
};

export type VaultProof =
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
