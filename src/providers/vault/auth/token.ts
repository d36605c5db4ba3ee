import { toSecretError } from '../../../core/errors.ts';
import type { VaultAnswer, VaultApi } from '../client/client.ts';
import type { VaultLogin, VaultSession } from '../types.ts';
import { type Welcome, readAuth } from './login.ts';

/** This close to its end a token is not used for anything new: it would end on its way. Of a short life, a sixth of it. */
const lastMs = 30_000;
/** Vault counts in whole seconds. */
const roundingMs = 1_500;

/** A token of our own, and when something is to be done about it. Times in milliseconds since the epoch. */
export type HeldToken = {
  /** Its `expiresAt` moves on with every renewal. */
  readonly session: VaultSession;
  /** When the life that is counted began: at its login, or its latest renewal. Ahead: the clock was set back since, and no other time here holds. */
  readonly begunAt: number;
  /** Infinity: never. */
  readonly expiresAt: number;
  /** About two thirds through its life: when to renew it, or, where it is the last, to log in anew. */
  readonly dueAt: number;
  /** When it stops being used. */
  readonly lastUseAt: number;
  /** Batch tokens are kept nowhere by Vault. */
  readonly isRevocable: boolean;
  /** Renewals help no more. */
  isLast: boolean;
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
  prolong(askedAt: number, lifeMs: number): void;
};

/** @param random from 0 up to, but not, 1: brings what is due forward by up to a tenth of the life */
export function holdToken(
  login: VaultLogin,
  welcome: Welcome,
  madeAt: number,
  random: () => number,
): HeldToken {
  const { token, renewable, isBatch, uses } = welcome;
  const firstMs = welcome.expiresAt - madeAt;
  let life = { from: madeAt, ms: firstMs, dueAfter: 2 / 3 - random() / 10 };
  const endOf = (): number => life.from + life.ms;
  const session: VaultSession = {
    login,
    token,
    loggedInAt: madeAt,
    ...(firstMs !== Infinity && { expiresAt: welcome.expiresAt }),
  };
  if (firstMs !== Infinity) Object.defineProperty(session, 'expiresAt', { enumerable: true, get: endOf });
  return {
    session,
    get begunAt() {
      return life.from;
    },
    get expiresAt() {
      return endOf();
    },
    get dueAt() {
      return life.from + life.ms * life.dueAfter;
    },
    get lastUseAt() {
      return endOf() - Math.min(lastMs, life.ms / 6);
    },
    isRevocable: !isBatch && uses === Infinity,
    isLast: !renewable || isBatch || uses !== Infinity,
    dependents: 0,
    isUsed: false,
    usesLeft: uses,
    pausedUntil: 0,
    prolong(askedAt, ms) {
      life = { from: askedAt, ms, dueAfter: 2 / 3 - random() / 10 };
      if (ms < firstMs - roundingMs) this.isLast = true;
      this.isUsed = false;
      this.pausedUntil = 0;
    },
  };
}

/** What a token may ask for itself. */
export type SelfCalls = {
  /** Finds, too, where renewals help no more, or where the token is none any more. @throws SecretError */
  renew(token: HeldToken, signal: AbortSignal): Promise<void>;
  /** With it ends all that depends on it. @throws SecretError */
  revoke(token: HeldToken, signal: AbortSignal): Promise<void>;
};

/** `now` is in milliseconds since the epoch. */
export function createSelfCalls({
  api,
  now,
}: {
  readonly api: VaultApi;
  readonly now: () => number;
}): SelfCalls {
  const ask = (
    { session: { login, token } }: HeldToken,
    what: string,
    signal: AbortSignal,
  ): Promise<VaultAnswer> =>
    api.call({
      ...{ login, token, method: 'POST', path: `auth/token/${what}`, body: '{}', signal },
      issues: false,
      accept: [400],
    });

  return {
    async renew(token, signal) {
      const askedAt = now();
      try {
        const answer = await ask(token, 'renew-self', signal);
        if (answer.status === 400) token.isLast = true;
        else token.prolong(askedAt, readAuth(answer, token.session.login).lease_duration * 1_000);
      } catch (thrown) {
        const { code } = toSecretError(thrown);
        if (code === 'ACCESS_DENIED') token.isLast = true;
        if (code === 'CREDENTIALS_REFUSED') token.prolong(askedAt, 0);
        throw thrown;
      }
    },
    async revoke(token, signal) {
      await ask(token, 'revoke-self', signal);
    },
  };
}
