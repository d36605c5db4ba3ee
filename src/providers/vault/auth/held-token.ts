import type { VaultSession } from '../identity.ts';
import type { VaultLogin } from '../login.ts';
import type { Welcome } from './log-in.ts';

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
