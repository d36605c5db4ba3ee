import { toSecretError } from '../../../core/errors.ts';
import type { VaultResponse, VaultApi } from '../call/api.ts';
import type { VaultLogin, VaultSession } from '../types.ts';
import { type LoginResult, readAuth } from './login.ts';

/** This close to its end a token is not used for anything new: it would end on its way. Of a short life, a sixth of it. */
const expiryMarginMs = 30_000;
/** Vault counts in whole seconds. */
const roundingMs = 1_500;

/** A token of our own, and when something is to be done about it. Times in milliseconds since the epoch. */
export type VaultToken = {
  /** Its `expiresAt` moves on with every renewal. */
  readonly session: VaultSession;
  /** When the life that is counted began: at its login, or its latest renewal. Ahead: the clock was set back since, and no other time here holds. */
  readonly lifeStartedAt: number;
  /** Infinity: never. */
  readonly expiresAt: number;
  /** About two thirds through its life: when to renew it, or, where it is the last, to log in anew. */
  readonly dueAt: number;
  /** When it stops being used. */
  readonly usableUntil: number;
  /** Batch tokens are kept nowhere by Vault. */
  readonly isRevocable: boolean;
  /** Renewals help no more. */
  isFinal: boolean;
  /** How many leases depend on it. */
  dependents: number;
  /** Asked for since it was got, or renewed last. */
  isUsed: boolean;
  /** For how many calls it is still good. */
  usesLeft: number;
  /** Nothing is done about it before. */
  pausedUntil: number;
  /** When another took its place. */
  supersededAt?: number;
  /** From `askedAt` on it lives for so long. Less than at first: its max TTL is near, and it is the last. */
  extend(sentAt: number, lifeMs: number): void;
};

/** @param random from 0 up to, but not, 1: brings what is due forward by up to a tenth of the life */
export function createVaultToken(
  login: VaultLogin,
  loginResult: LoginResult,
  issuedAt: number,
  random: () => number,
): VaultToken {
  const { token, renewable, isBatch, uses } = loginResult;
  const initialLifeMs = loginResult.expiresAt - issuedAt;
  let life = { from: issuedAt, ms: initialLifeMs, dueFraction: 2 / 3 - random() / 10 };
  const currentExpiry = (): number => life.from + life.ms;
  const session: VaultSession = {
    login,
    token,
    loggedInAt: issuedAt,
    ...(initialLifeMs !== Infinity && { expiresAt: loginResult.expiresAt }),
  };
  if (initialLifeMs !== Infinity)
    Object.defineProperty(session, 'expiresAt', { enumerable: true, get: currentExpiry });
  return {
    session,
    get lifeStartedAt() {
      return life.from;
    },
    get expiresAt() {
      return currentExpiry();
    },
    get dueAt() {
      return life.from + life.ms * life.dueFraction;
    },
    get usableUntil() {
      return currentExpiry() - Math.min(expiryMarginMs, life.ms / 6);
    },
    isRevocable: !isBatch && uses === Infinity,
    isFinal: !renewable || isBatch || uses !== Infinity,
    dependents: 0,
    isUsed: false,
    usesLeft: uses,
    pausedUntil: 0,
    extend(sentAt, lifeMs) {
      life = { from: sentAt, ms: lifeMs, dueFraction: 2 / 3 - random() / 10 };
      if (lifeMs < initialLifeMs - roundingMs) this.isFinal = true;
      this.isUsed = false;
      this.pausedUntil = 0;
    },
  };
}

/** What a token may ask for itself. */
export type SelfCalls = {
  /** Finds, too, where renewals help no more, or where the token is none any more. @throws SecretError */
  renew(token: VaultToken, signal: AbortSignal): Promise<void>;
  /** With it ends all that depends on it. @throws SecretError */
  revoke(token: VaultToken, signal: AbortSignal): Promise<void>;
};

/** `now` is in milliseconds since the epoch. */
export function createSelfCalls({
  api,
  now,
}: {
  readonly api: VaultApi;
  readonly now: () => number;
}): SelfCalls {
  const callSelf = (
    { session: { login, token } }: VaultToken,
    endpoint: string,
    signal: AbortSignal,
  ): Promise<VaultResponse> =>
    api.call({
      ...{ login, token, method: 'POST', path: `auth/token/${endpoint}`, body: '{}', signal },
      mayIssue: false,
      accept: [400],
    });

  return {
    async renew(token, signal) {
      const sentAt = now();
      try {
        const response = await callSelf(token, 'renew-self', signal);
        if (response.status === 400) token.isFinal = true;
        else token.extend(sentAt, readAuth(response, token.session.login).lease_duration * 1_000);
      } catch (thrown) {
        const { code } = toSecretError(thrown);
        if (code === 'ACCESS_DENIED') token.isFinal = true;
        if (code === 'CREDENTIALS_REFUSED') token.extend(sentAt, 0);
        throw thrown;
      }
    },
    async revoke(token, signal) {
      await callSelf(token, 'revoke-self', signal);
    },
  };
}
