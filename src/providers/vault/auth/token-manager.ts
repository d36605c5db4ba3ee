import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { createSingleFlight } from '../../../concurrency/single-flight.ts';
import { isRecent } from '../../../concurrency/time.ts';
import { toSecretError } from '../../../core/errors.ts';
import type { Proving } from '../../shared/credentials/credential-gate.ts';
import type { VaultApi } from '../client/client.ts';
import { whose } from '../client/errors.ts';
import { createTlsFiles } from '../client/tls-files.ts';
import type { VaultIdentity, VaultSession } from '../types.ts';
import { givenToken, logIn, loginRequest } from './login.ts';
import { type HeldToken, createSelfCalls, holdToken } from './token.ts';

/** A token is not given up because it was refused before it is this old. */
const youthMs = 60_000;
/** How long something in the background may take, and how long it is left alone after it failed. */
const backgroundMs = 20_000;
/** How long a token lives on after another has taken its place: calls are on their way with it, and may bring leases. */
const farewellMs = 120_000;
const tickMs = 1_000;
const maxPrincipals = 1_000;

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
  /** Does what is due. Called every second by itself. */
  tick(): void;
  /** Revokes the tokens of our own logins on which nothing depends. */
  close(signal: AbortSignal): Promise<void>;
};

/** What {@link createVaultTokens} needs. */
export type VaultTokensDeps = {
  readonly api: VaultApi;
  readonly proving: Proving;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** From 0 up to, but not, 1. */
  readonly random?: () => number;
  readonly log: Logger;
};

/** See {@link VaultTokens}. */
export function createVaultTokens(deps: VaultTokensDeps): VaultTokens {
  const { now, random = Math.random, log } = deps;
  const self = createSelfCalls(deps);
  const tlsFiles = createTlsFiles({ now });
  const flights = createSingleFlight<HeldToken>();
  /** The one that each principal uses now. */
  const current = new LRUCache<string, HeldToken>({
    max: maxPrincipals,
    dispose: (token) => {
      token.supersededAt = now();
    },
  });
  /** Those, and earlier ones on which something depends. */
  const held = new Map<VaultSession, HeldToken>();
  /** Tokens that no login made. */
  const given = new LRUCache<string, VaultSession>({ max: maxPrincipals });
  let clock: NodeJS.Timeout | undefined;

  const obtain = (
    cacheKey: string,
    { login, proof }: VaultIdentity,
    signal: AbortSignal,
  ): Promise<HeldToken> =>
    flights.run(cacheKey, signal, async (flight) => {
      const request = await loginRequest(login, await proof(flight), tlsFiles);
      const token = holdToken(login, await logIn(deps, login, request, flight), now(), random);
      current.set(cacheKey, token);
      held.set(token.session, token);
      clock ??= setInterval(tick, tickMs).unref();
      return token;
    });

  const obtainGiven = async (
    cacheKey: string,
    { login, proof }: VaultIdentity,
    signal: AbortSignal,
  ): Promise<VaultSession> => {
    const token = givenToken(await proof(signal));
    const known = given.get(cacheKey);
    if (known?.token.reveal() === token.reveal()) return known;
    const fresh: VaultSession = { login, token };
    given.set(cacheKey, fresh);
    return fresh;
  };

  /** Nobody waits for it, so its failure is told here. */
  const inBackground = (
    token: HeldToken,
    what: string,
    work: (signal: AbortSignal) => Promise<unknown>,
  ): void => {
    token.pausedUntil = now() + Math.min(backgroundMs, (token.expiresAt - now()) / 3);
    work(AbortSignal.timeout(backgroundMs)).catch((thrown: unknown) => {
      const { code, summary } = toSecretError(thrown);
      log.warn({ login: whose(token.session), code, reason: summary }, what);
    });
  };

  const isDue = ({ begunAt, dueAt, pausedUntil }: HeldToken): boolean => {
    const at = now();
    const isPaused = at < pausedUntil && pausedUntil - at <= backgroundMs;
    return !isPaused && (at >= dueAt || at < begunAt);
  };

  function tend(token: HeldToken): void {
    const { session, dependents, supersededAt } = token;
    if (now() >= token.expiresAt) held.delete(session);
    else if (supersededAt !== undefined && dependents === 0) {
      if (now() < supersededAt + farewellMs) return;
      held.delete(session);
      if (token.isRevocable)
        inBackground(token, 'a token was not revoked', (signal) => self.revoke(token, signal));
    } else if (isDue(token) && !token.isLast && (dependents > 0 || token.isUsed))
      inBackground(token, 'a token was not renewed', (signal) => self.renew(token, signal));
  }

  function tick(): void {
    for (const token of [...held.values()]) tend(token);
    if (held.size > 0) return;
    clearInterval(clock);
    clock = undefined;
  }

  return {
    async of(cacheKey, identity, signal) {
      signal.throwIfAborted();
      if (identity.login.method === 'token') return obtainGiven(cacheKey, identity, signal);
      const kept = current.get(cacheKey);
      const isGood = kept !== undefined && now() < kept.lastUseAt && kept.usesLeft > 0;
      const token = isGood ? kept : await obtain(cacheKey, identity, signal);
      token.isUsed = true;
      token.usesLeft -= 1;
      if (token.isLast && isDue(token))
        inBackground(token, 'no new token yet', (either) => obtain(cacheKey, identity, either));
      else tend(token);
      return token.session;
    },
    refused(cacheKey, session) {
      const kept = current.peek(cacheKey);
      if (session.loggedInAt === undefined) return given.peek(cacheKey) !== session;
      if (kept?.session !== session) return true;
      if (isRecent(session.loggedInAt, youthMs, now())) return false;
      current.delete(cacheKey);
      return true;
    },
    dependOn(session) {
      const token = held.get(session);
      if (token !== undefined) token.dependents += 1;
      let isOver = token === undefined;
      return () => {
        if (!isOver && token !== undefined) token.dependents -= 1;
        isOver = true;
      };
    },
    tick,
    async close(signal) {
      clearInterval(clock);
      const idle = [...held.values()].filter(
        ({ dependents, isRevocable }) => dependents === 0 && isRevocable,
      );
      held.clear();
      await Promise.allSettled(idle.map((token) => self.revoke(token, signal)));
    },
  };
}
