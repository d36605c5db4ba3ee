import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { SingleFlight } from '../../../concurrency/single-flight.ts';
import { isRecent } from '../../../concurrency/time.ts';
import { toSecretError } from '../../../core/errors.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import type { VaultApi } from '../call/api.ts';
import { describeIdentity } from '../describe.ts';
import { createTlsFiles } from '../call/tls-files.ts';
import type { VaultIdentity, VaultSession } from '../types.ts';
import { requireStaticToken, logIn, createLoginRequest } from './login.ts';
import { type VaultToken, createSelfCalls, createVaultToken } from './token.ts';

/** A token is not given up because it was refused before it is this old. */
const minRefusedAgeMs = 60_000;
/** How long something in the background may take, and how long it is left alone after it failed. */
const backgroundTimeoutMs = 20_000;
/** How long a token lives on after another has taken its place: calls are on their way with it, and may bring leases. */
const supersededGraceMs = 120_000;
const tickMs = 1_000;
const maxPrincipals = 1_000;

/**
 * Tokens by principal: one login under way for each, renewed at about two thirds of their life, in the background, as long as they are used or
 * something depends on them, and made anew near their end.
 */
export type VaultTokenManager = {
  /**
   * @param cacheKey the principal's fingerprint: stands for all of `identity` but the proof, and for whose proof it is
   * @throws SecretError CREDENTIALS_REFUSED, CREDENTIALS_UNAVAILABLE, NOT_CONFIGURED, what `identity.proof` throws; the signal's reason
   */
  getSession(cacheKey: string, identity: VaultIdentity, signal: AbortSignal): Promise<VaultSession>;
  /**
   * Vault did not take the token, or its policies do not do (ACCESS_DENIED may come from a role that changed since). True: ask `of` again,
   * and try once more with what it gives. At most once a minute for a principal, and never for a token younger than that.
   */
  invalidate(cacheKey: string, session: VaultSession): boolean;
  /**
   * A lease is a child of the token that read it and ends with it: until the returned function is called (once; later calls do nothing) the
   * session is renewed as long as Vault allows, used or not, and not revoked. `session.expiresAt` moves on as it is renewed; no lease outlives it.
   */
  retain(session: VaultSession): () => void;
  /** Does what is due. Called every second by itself. */
  tick(): void;
  /** Revokes the tokens of our own logins on which nothing depends. */
  close(signal: AbortSignal): Promise<void>;
};

/** What {@link createVaultTokenManager} needs. */
export type VaultTokenManagerDeps = {
  readonly api: VaultApi;
  readonly credentialGate: CredentialGate;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** From 0 up to, but not, 1. */
  readonly random?: () => number;
  readonly log: Logger;
};

/** See {@link VaultTokenManager}. */
export function createVaultTokenManager(deps: VaultTokenManagerDeps): VaultTokenManager {
  const { now, random = Math.random, log } = deps;
  const selfCalls = createSelfCalls(deps);
  const tlsFiles = createTlsFiles({ now });
  const inFlightLogins = new SingleFlight<VaultToken>();
  /** The one that each principal uses now. */
  const currentTokens = new LRUCache<string, VaultToken>({
    max: maxPrincipals,
    dispose: (token) => {
      token.supersededAt = now();
    },
  });
  /** Those, and earlier ones on which something depends. */
  const liveTokens = new Map<VaultSession, VaultToken>();
  /** Tokens that no login made. */
  const staticSessions = new LRUCache<string, VaultSession>({ max: maxPrincipals });
  let tickTimer: NodeJS.Timeout | undefined;

  const logInAndAdd = (
    cacheKey: string,
    { login, getCredential }: VaultIdentity,
    signal: AbortSignal,
  ): Promise<VaultToken> =>
    inFlightLogins.run(cacheKey, signal, async (loginSignal) => {
      const request = await createLoginRequest(login, await getCredential(loginSignal), tlsFiles);
      const token = createVaultToken(
        login,
        await logIn(deps, login, request, loginSignal),
        now(),
        random,
      );
      currentTokens.set(cacheKey, token);
      liveTokens.set(token.session, token);
      tickTimer ??= setInterval(tick, tickMs).unref();
      return token;
    });

  const getStaticSession = async (
    cacheKey: string,
    { login, getCredential }: VaultIdentity,
    signal: AbortSignal,
  ): Promise<VaultSession> => {
    const token = requireStaticToken(await getCredential(signal));
    const cachedSession = staticSessions.get(cacheKey);
    if (cachedSession?.token.reveal() === token.reveal()) return cachedSession;
    const newSession: VaultSession = { login, token };
    staticSessions.set(cacheKey, newSession);
    return newSession;
  };

  /** Nobody waits for it, so its failure is told here. */
  const runInBackground = (
    token: VaultToken,
    failureMessage: string,
    task: (signal: AbortSignal) => Promise<unknown>,
  ): void => {
    token.pausedUntil = now() + Math.min(backgroundTimeoutMs, (token.expiresAt - now()) / 3);
    task(AbortSignal.timeout(backgroundTimeoutMs)).catch((thrown: unknown) => {
      const { code, summary } = toSecretError(thrown);
      log.warn({ login: describeIdentity(token.session), code, reason: summary }, failureMessage);
    });
  };

  const isDue = ({ lifeStartedAt, dueAt, pausedUntil }: VaultToken): boolean => {
    const currentTime = now();
    const isPaused = currentTime < pausedUntil && pausedUntil - currentTime <= backgroundTimeoutMs;
    return !isPaused && (currentTime >= dueAt || currentTime < lifeStartedAt);
  };

  function maintain(token: VaultToken): void {
    const { session, dependents, supersededAt } = token;
    if (now() >= token.expiresAt) liveTokens.delete(session);
    else if (supersededAt !== undefined && dependents === 0) {
      if (now() < supersededAt + supersededGraceMs) return;
      liveTokens.delete(session);
      if (token.isRevocable)
        runInBackground(token, 'a token was not revoked', (signal) =>
          selfCalls.revoke(token, signal),
        );
    } else if (isDue(token) && !token.isFinal && (dependents > 0 || token.isUsed))
      runInBackground(token, 'a token was not renewed', (signal) => selfCalls.renew(token, signal));
  }

  function tick(): void {
    for (const token of [...liveTokens.values()]) maintain(token);
    if (liveTokens.size > 0) return;
    clearInterval(tickTimer);
    tickTimer = undefined;
  }

  return {
    async getSession(cacheKey, identity, signal) {
      signal.throwIfAborted();
      if (identity.login.method === 'token') return getStaticSession(cacheKey, identity, signal);
      const currentToken = currentTokens.get(cacheKey);
      const isUsable =
        currentToken !== undefined && now() < currentToken.usableUntil && currentToken.usesLeft > 0;
      const token = isUsable ? currentToken : await logInAndAdd(cacheKey, identity, signal);
      token.isUsed = true;
      token.usesLeft -= 1;
      if (token.isFinal && isDue(token))
        runInBackground(token, 'no new token yet', (backgroundSignal) =>
          logInAndAdd(cacheKey, identity, backgroundSignal),
        );
      else maintain(token);
      return token.session;
    },
    invalidate(cacheKey, session) {
      const currentToken = currentTokens.peek(cacheKey);
      if (session.loggedInAt === undefined) return staticSessions.peek(cacheKey) !== session;
      if (currentToken?.session !== session) return true;
      if (isRecent(session.loggedInAt, minRefusedAgeMs, now())) return false;
      currentTokens.delete(cacheKey);
      return true;
    },
    retain(session) {
      const token = liveTokens.get(session);
      if (token !== undefined) token.dependents += 1;
      let isReleased = token === undefined;
      return () => {
        if (!isReleased && token !== undefined) token.dependents -= 1;
        isReleased = true;
      };
    },
    tick,
    async close(signal) {
      clearInterval(tickTimer);
      const revocableTokens = [...liveTokens.values()].filter(
        ({ dependents, isRevocable }) => dependents === 0 && isRevocable,
      );
      liveTokens.clear();
      await Promise.allSettled(revocableTokens.map((token) => selfCalls.revoke(token, signal)));
    },
  };
}
