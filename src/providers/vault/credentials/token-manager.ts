import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { runAsKeyferry } from '../../../concurrency/caller.ts';
import { SingleFlight } from '../../../concurrency/single-flight.ts';
import { isRecent } from '../../../concurrency/time.ts';
import { toSecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import type { VaultApi } from '../call/api.ts';
import { type TlsFiles, createTlsFiles } from '../call/tls-files.ts';
import { describeIdentity, isoTime } from '../describe.ts';
import type { VaultIdentity, VaultLogin, VaultSession } from '../types.ts';
import { type LoginResult, createLoginRequest, logIn, requireStaticToken } from './login.ts';
import { lookUpGivenToken } from './lookup.ts';
import { digestOf } from '../../shared/identity/fingerprint.ts';
import { VaultToken, renewToken, revokeToken } from './token.ts';

/** The timeout of background work on a token, and the longest pause after it failed. */
const backgroundTimeoutMs = 20_000;
/** How long a replaced token lives on: calls in flight use it, and may bring leases. */
const supersededGraceMs = 120_000;
const tickMs = 1_000;
const maxPrincipals = 1_000;
/** A younger token stays, although Vault refuses it: a new one would be refused, too. */
const minInvalidationAgeMs = 60_000;

/** See {@link VaultTokenManager}. */
export type VaultTokenManagerDeps = {
  readonly api: VaultApi;
  readonly credentialGate: CredentialGate;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** From 0 up to, but not including, 1. Default Math.random. */
  readonly random?: () => number;
  readonly log: Logger;
};

/** A token that a later process keeps for its leases. */
export type HandedOverToken = {
  readonly token: string;
  /** Milliseconds since the epoch; null: never. */
  readonly expiresAt: number | null;
  readonly isRenewable: boolean;
  readonly isRevocable: boolean;
};

/**
 * Keeps a token for each principal, with one login at a time for each. It renews a token at about
 * two thirds of its life, in the background, while callers use it or leases depend on it. It logs
 * in again near the end of a token that renewals do not extend. The token of a host is renewed
 * without use as well: its secret id may have ended, so that a new login would fail.
 */
export class VaultTokenManager {
  readonly #deps: VaultTokenManagerDeps;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #tlsFiles: TlsFiles;
  readonly #inFlightLogins = new SingleFlight<VaultToken>();
  /** The token that each principal uses now. */
  readonly #currentTokens: LRUCache<string, VaultToken>;
  /** The current tokens, and replaced ones that leases or calls in flight use. */
  readonly #liveTokens = new Map<VaultSession, VaultToken>();
  /** Tokens that do not come from a login of Keyferry. */
  readonly #staticSessions = new LRUCache<string, VaultSession>({ max: maxPrincipals });
  #tickTimer: NodeJS.Timeout | undefined;

  constructor(deps: VaultTokenManagerDeps) {
    const { now, random = Math.random } = deps;
    this.#deps = deps;
    this.#now = now;
    this.#random = random;
    this.#tlsFiles = createTlsFiles({ now });
    this.#currentTokens = new LRUCache({
      max: maxPrincipals,
      dispose: (token) => {
        token.supersededAt = now();
      },
    });
  }

  /**
   * Returns the session of a principal, and logs in where it has none.
   * @param cacheKey the principal's fingerprint. It identifies all of `identity` but the
   *   credential, and for the owner of the credential
   * @throws SecretError CREDENTIALS_REFUSED, CREDENTIALS_UNAVAILABLE, NOT_CONFIGURED; what
   *   `identity.getCredential` throws; the signal's reason
   */
  async getSession(
    cacheKey: string,
    identity: VaultIdentity,
    signal: AbortSignal,
  ): Promise<VaultSession> {
    signal.throwIfAborted();
    if (identity.login.method === 'token')
      return identity.login.isHost === true
        ? this.#getGivenSession(cacheKey, identity, signal)
        : this.#getStaticSession(cacheKey, identity, signal);
    const currentToken = this.#currentTokens.get(cacheKey);
    const isUsable =
      currentToken !== undefined &&
      this.#now() < currentToken.usableUntil &&
      currentToken.usesLeft > 0;
    const token = isUsable ? currentToken : await this.#logInAndAdd(cacheKey, identity, signal);
    token.isUsed = true;
    token.usesLeft -= 1;
    if (token.isFinal && this.#isDue(token))
      this.#runInBackground(token, 'no new token yet', (backgroundSignal) =>
        this.#logInAndAdd(cacheKey, identity, backgroundSignal),
      );
    else this.#maintain(token);
    return token.session;
  }

  /**
   * Drops a token that Vault refused, or whose policies deny a read (the role may have other
   * policies now). A token that is younger than a minute stays.
   * @returns whether `getSession` now gives another session
   */
  invalidate(cacheKey: string, session: VaultSession): boolean {
    const currentToken = this.#currentTokens.peek(cacheKey);
    if (session.loggedInAt === undefined)
      return (currentToken?.session ?? this.#staticSessions.peek(cacheKey)) !== session;
    if (currentToken?.session !== session) return true;
    if (isRecent(session.loggedInAt, minInvalidationAgeMs, this.#now())) return false;
    this.#currentTokens.delete(cacheKey);
    return true;
  }

  /**
   * Keeps a session for a lease. A lease is a child of the token that read it and ends with it.
   * Until the caller runs the returned function, the session is renewed as long as Vault allows,
   * used or not, and not revoked. Each renewal moves `session.expiresAt`.
   * @returns ends this; only the first call has an effect
   */
  retain(session: VaultSession): () => void {
    const token = this.#liveTokens.get(session);
    if (token !== undefined) token.dependents += 1;
    let isReleased = token === undefined;
    return () => {
      if (!isReleased && token !== undefined) token.dependents -= 1;
      isReleased = true;
    };
  }

  /** What a later process needs to keep the token of a lease. It is a secret. */
  handOver(session: VaultSession): HandedOverToken | undefined {
    const token = this.#liveTokens.get(session);
    if (token === undefined) return undefined;
    const { expiresAt, isFinal, isRevocable } = token;
    return {
      token: session.token.reveal(),
      expiresAt: expiresAt === Infinity ? null : expiresAt,
      isRenewable: !isFinal,
      isRevocable,
    };
  }

  /**
   * Keeps the token of an earlier process for its leases, see {@link retain}. No principal uses it
   * for anything else, and it is revoked after its last lease.
   */
  takeOver(login: VaultLogin, handedOver: HandedOverToken): VaultSession {
    const { token: text, expiresAt, isRenewable, isRevocable } = handedOver;
    for (const { session } of this.#liveTokens.values())
      if (session.token.reveal() === text) return session;
    const loginResult: LoginResult = {
      ...{ token: new Redacted(text), expiresAt: expiresAt ?? Infinity },
      ...{ renewable: isRenewable, isBatch: false, uses: Infinity },
    };
    const issuedAt = this.#now();
    const random = this.#random;
    const token = new VaultToken({ login, loginResult, issuedAt, random, isGiven: !isRevocable });
    token.supersededAt = issuedAt;
    this.#keep(token);
    return token.session;
  }

  /** Does the work that is due. A timer calls it every second. */
  tick(): void {
    for (const token of [...this.#liveTokens.values()]) this.#maintain(token);
    if (this.#liveTokens.size > 0) return;
    clearInterval(this.#tickTimer);
    this.#tickTimer = undefined;
  }

  /** Revokes the tokens that Keyferry logged in for and that no lease depends on. */
  async close(signal: AbortSignal): Promise<void> {
    clearInterval(this.#tickTimer);
    const revocableTokens = [...this.#liveTokens.values()].filter(
      ({ dependents, isRevocable }) => dependents === 0 && isRevocable,
    );
    this.#liveTokens.clear();
    await Promise.allSettled(
      revocableTokens.map((token) => revokeToken(this.#deps, token, signal)),
    );
  }

  #logInAndAdd(
    cacheKey: string,
    { login, getCredential }: VaultIdentity,
    signal: AbortSignal,
  ): Promise<VaultToken> {
    return this.#inFlightLogins.run(cacheKey, signal, async (loginSignal) => {
      const credential = await getCredential(loginSignal);
      const request = await createLoginRequest(login, credential, this.#tlsFiles);
      return this.#add(cacheKey, login, await logIn(this.#deps, login, request, loginSignal));
    });
  }

  #add(
    cacheKey: string,
    login: VaultLogin,
    loginResult: LoginResult,
    { isGiven = false } = {},
  ): VaultToken {
    const token = new VaultToken({
      ...{ login, loginResult, isGiven },
      issuedAt: this.#now(),
      random: this.#random,
    });
    this.#currentTokens.set(cacheKey, token);
    this.#keep(token);
    if (login.isHost === true)
      this.#logToken(token, isGiven ? 'the given token is valid' : 'logged in');
    return token;
  }

  #keep(token: VaultToken): void {
    this.#liveTokens.set(token.session, token);
    this.#tickTimer ??= setInterval(() => this.tick(), tickMs).unref();
  }

  /** A token that was given to a host. Its file can have another one at any time. */
  async #getGivenSession(
    cacheKey: string,
    { login, getCredential }: VaultIdentity,
    signal: AbortSignal,
  ): Promise<VaultSession> {
    const given = requireStaticToken(await getCredential(signal));
    const text = given.reveal();
    const currentToken = this.#currentTokens.get(cacheKey);
    if (currentToken?.session.token.reveal() === text && this.#now() < currentToken.expiresAt) {
      this.#maintain(currentToken);
      return currentToken.session;
    }
    const flightKey = `${cacheKey} ${digestOf(text)}`;
    const token = await this.#inFlightLogins.run(flightKey, signal, async (lookupSignal) => {
      const loginResult = await lookUpGivenToken(this.#deps, login, given, lookupSignal);
      return this.#add(cacheKey, login, loginResult, { isGiven: true });
    });
    return token.session;
  }

  async #getStaticSession(
    cacheKey: string,
    { login, getCredential }: VaultIdentity,
    signal: AbortSignal,
  ): Promise<VaultSession> {
    const token = requireStaticToken(await getCredential(signal));
    const cachedSession = this.#staticSessions.get(cacheKey);
    if (cachedSession?.token.reveal() === token.reveal()) return cachedSession;
    const newSession: VaultSession = { login, token };
    this.#staticSessions.set(cacheKey, newSession);
    return newSession;
  }

  #maintain(token: VaultToken): void {
    const { session, dependents, supersededAt } = token;
    if (this.#now() >= token.expiresAt) this.#liveTokens.delete(session);
    else if (supersededAt !== undefined && dependents === 0) {
      if (this.#now() < supersededAt + supersededGraceMs) return;
      this.#liveTokens.delete(session);
      if (token.isRevocable)
        this.#runInBackground(token, 'a token was not revoked', (signal) =>
          revokeToken(this.#deps, token, signal),
        );
    } else if (this.#isDue(token) && !token.isFinal && this.#isNeeded(token))
      this.#runInBackground(token, 'token renewal failed', async (signal) => {
        const isRenewed = await renewToken(this.#deps, token, signal);
        this.#logToken(token, `token renewal ${isRenewed ? 'succeeded' : 'was refused'}`);
      });
  }

  #isNeeded({ dependents, isUsed, session: { login } }: VaultToken): boolean {
    return dependents > 0 || isUsed || login.isHost === true;
  }

  /** A host has few tokens, and its operator looks for these lines. */
  #logToken({ session, isFinal, expiresAt, dueAt }: VaultToken, message: string): void {
    const { login } = session;
    const fields = { login: describeIdentity(session) };
    const write = (text: string, times: object = {}): void =>
      this.#deps.log[login.isHost === true ? 'info' : 'debug']({ ...fields, ...times }, text);
    if (expiresAt === Infinity)
      return write(`${message}; no end of it is known, so there is no token renewal`);
    const times = { expiresAt: isoTime(expiresAt) };
    if (!isFinal) write(`${message}; the next token renewal is at ${isoTime(dueAt)}`, times);
    else if (login.method === 'token')
      this.#deps.log.warn(
        { ...fields, ...times },
        `${message}; no token renewal extends it further`,
      );
    else write(`${message}; no token renewal extends it further, a new login follows`, times);
  }

  #isDue({ lifeStartedAt, dueAt, pausedUntil }: VaultToken): boolean {
    const now = this.#now();
    const isPaused = now < pausedUntil && pausedUntil - now <= backgroundTimeoutMs;
    return !isPaused && (now >= dueAt || now < lifeStartedAt);
  }

  /** No caller waits for the task, so its failure goes to the log. */
  #runInBackground(
    token: VaultToken,
    failureMessage: string,
    task: (signal: AbortSignal) => Promise<unknown>,
  ): void {
    const now = this.#now();
    token.pausedUntil = now + Math.min(backgroundTimeoutMs, (token.expiresAt - now) / 3);
    const signal = AbortSignal.timeout(backgroundTimeoutMs);
    runAsKeyferry(() => task(signal)).catch((thrown: unknown) => {
      const { code, summary } = toSecretError(thrown);
      this.#deps.log.warn(
        { login: describeIdentity(token.session), code, reason: summary },
        failureMessage,
      );
    });
  }
}
