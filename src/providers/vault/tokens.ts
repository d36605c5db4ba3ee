import type { VaultIdentity, VaultSession } from './identity.ts';

/**
 * Tokens by principal: one login under way for each, renewed at about two thirds of their life, in the background, as long as they are used or
 * something depends on them, and made anew near their end.
 */
export type VaultTokens = {
  /**
   * @param cacheKey the principal's fingerprint: stands for all of `identity` but the proof, and for whose proof it is
   * @throws SecretError CREDENTIALS_REFUSED, CREDENTIALS_UNAVAILABLE, NOT_CONFIGURED, what `identity.proof` throws; the signal's reason
   */
  of(cacheKey: string, identity: VaultIdentity, signal: AbortSignal): Promise<VaultSession>;
  /**
   * Vault did not take the token, or its policies do not do (ACCESS_DENIED may come from a role that changed since). True: ask `of` again,
   * and try once more with what it gives. At most once a minute for a principal, and never for a token younger than that.
   */
  refused(cacheKey: string, session: VaultSession): boolean;
  /**
   * A lease is a child of the token that read it and ends with it: until the returned function is called (once; later calls do nothing) the
   * session is renewed as long as Vault allows, used or not, and not revoked. `session.expiresAt` moves on as it is renewed; no lease outlives it.
   */
  dependOn(session: VaultSession): () => void;
  /** Revokes the tokens of our own logins on which nothing depends. */
  close(signal: AbortSignal): Promise<void>;
};
