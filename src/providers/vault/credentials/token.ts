import { toSecretError } from '../../../core/errors.ts';
import type { VaultApi, VaultResponse } from '../call/api.ts';
import type { VaultLogin, VaultSession } from '../types.ts';
import { type LoginResult, readAuth } from './login.ts';

/**
 * A token this close to its end is not used for new calls: it could end while they are on their
 * way. For a token with a short life the margin is a sixth of it.
 */
const expiryMarginMs = 30_000;
/** Vault counts in whole seconds. */
const roundingMs = 1_500;

/** The time from a login or a renewal to the end that it gave. */
type Life = { readonly from: number; readonly ms: number; readonly dueFraction: number };

/** See {@link VaultToken}. */
export type VaultTokenOptions = {
  readonly login: VaultLogin;
  readonly loginResult: LoginResult;
  /** Milliseconds since the epoch. */
  readonly issuedAt: number;
  /** From 0 up to, but not including, 1: makes renewals earlier by up to a tenth of the life. */
  readonly random: () => number;
  /** The token was given to Keyferry, which has only looked it up. */
  readonly isGiven?: boolean;
};

/**
 * A token that Keyferry logged in for, and when it needs something. Times are in milliseconds since
 * the epoch.
 */
export class VaultToken {
  /** Its `expiresAt` moves with every renewal. */
  readonly session: VaultSession;
  /** Vault does not store batch tokens, so it cannot revoke them. A given token is not ours. */
  readonly isRevocable: boolean;
  /** Renewals do not extend it any more. */
  isFinal: boolean;
  /** How many leases depend on it. */
  dependents = 0;
  /** A caller got it since the login, or since the last renewal. */
  isUsed = false;
  /** For how many more calls it is valid. */
  usesLeft: number;
  /** No background work on it before this time. */
  pausedUntil = 0;
  /** When another token replaced it. */
  supersededAt: number | undefined;
  #fullLifeMs: number;
  readonly #random: () => number;
  #life: Life;

  constructor({ login, loginResult, issuedAt, random, isGiven = false }: VaultTokenOptions) {
    const { token, renewable, isBatch, uses, expiresAt } = loginResult;
    this.#random = random;
    this.#fullLifeMs = expiresAt - issuedAt;
    this.#life = this.#lifeOf(issuedAt, this.#fullLifeMs);
    this.isRevocable = !isGiven && !isBatch && uses === Infinity;
    this.isFinal = !renewable || isBatch || uses !== Infinity;
    this.usesLeft = uses;
    this.session = { login, token, ...(!isGiven && { loggedInAt: issuedAt }) };
    if (expiresAt !== Infinity)
      Object.defineProperty(this.session, 'expiresAt', {
        enumerable: true,
        get: () => this.expiresAt,
      });
  }

  /**
   * When its present life began: at the login or the last renewal. If it is in the future, the
   * clock was set back, and no other time here is valid.
   */
  get lifeStartedAt(): number {
    return this.#life.from;
  }

  /** Infinity: never. */
  get expiresAt(): number {
    return this.#life.from + this.#life.ms;
  }

  /** About two thirds through its life: when to renew it, or to log in again if it is final. */
  get dueAt(): number {
    return this.#life.from + this.#life.ms * this.#life.dueFraction;
  }

  /** New calls do not use it after this time. */
  get usableUntil(): number {
    return this.expiresAt - Math.min(expiryMarginMs, this.#life.ms / 6);
  }

  /**
   * Records a renewal that was sent at `sentAt`. A life that is shorter than an earlier one shows
   * that the max TTL is near, so the token is final.
   */
  extend(sentAt: number, lifeMs: number): void {
    this.#life = this.#lifeOf(sentAt, lifeMs);
    if (lifeMs < this.#fullLifeMs - roundingMs) this.isFinal = true;
    this.#fullLifeMs = Math.max(this.#fullLifeMs, lifeMs);
    this.isUsed = false;
    this.pausedUntil = 0;
  }

  #lifeOf(from: number, ms: number): Life {
    return { from, ms, dueFraction: 2 / 3 - this.#random() / 10 };
  }
}

/**
 * Renews a token by itself. It also records when renewals do not extend the token any more, or when
 * Vault rejects it.
 * @returns whether Vault renewed it
 * @throws SecretError
 */
export async function renewToken(
  { api, now }: { readonly api: VaultApi; readonly now: () => number },
  token: VaultToken,
  signal: AbortSignal,
): Promise<boolean> {
  const sentAt = now();
  try {
    const response = await callTokenApi(api, token, 'renew-self', signal);
    const isRenewed = response.status !== 400;
    if (isRenewed)
      token.extend(sentAt, readAuth(response, token.session.login).lease_duration * 1_000);
    else token.isFinal = true;
    return isRenewed;
  } catch (thrown) {
    const { code } = toSecretError(thrown);
    if (code === 'ACCESS_DENIED') token.isFinal = true;
    if (code === 'CREDENTIALS_REFUSED') token.extend(sentAt, 0);
    throw thrown;
  }
}

/** Revokes a token by itself, with all that depends on it. @throws SecretError */
export async function revokeToken(
  { api }: { readonly api: VaultApi },
  token: VaultToken,
  signal: AbortSignal,
): Promise<void> {
  await callTokenApi(api, token, 'revoke-self', signal);
}

function callTokenApi(
  api: VaultApi,
  { session: { login, token } }: VaultToken,
  endpoint: 'renew-self' | 'revoke-self',
  signal: AbortSignal,
): Promise<VaultResponse> {
  return api.call({
    ...{ login, token, method: 'POST', path: `auth/token/${endpoint}`, body: '{}', signal },
    mayIssue: false,
    accept: [400],
  });
}
