import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { vaultResponse } from '../../../../test/fakes/vault-responses.ts';
import type { TokenLifetime } from '../../../../test/fakes/vault-tokens.ts';
import { type FakeVaultOptions, startFakeVault } from '../../../../test/fakes/vault.ts';
import { RejectionCache } from '../../../concurrency/rejection-cache.ts';
import { createRetry } from '../../../concurrency/retry.ts';
import { SecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { VaultClient } from '../call/api.ts';
import type { VaultIdentity, VaultLogin, VaultSession } from '../types.ts';
import { VaultTokenManager } from './token-manager.ts';

const neverAborted = new AbortController().signal;
const minutes = (count: number): number => count * 60_000;
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of cleanups.splice(0).reverse()) await close();
});

/** A Vault where ServiceAccount team-a/app may have role `app`, and a client. */
async function setUp(life: TokenLifetime = {}, options?: FakeVaultOptions) {
  const vault = await startFakeVault(options);
  cleanups.push(() => vault.close());
  vault.kv2().put('app', { password: 'canary' });
  vault.policy('app', { 'secret/data/*': ['read'] });
  vault.auth.kubernetes().role('app', { names: ['app'], namespaces: ['team-a'], ...life });
  const lines: string[] = [];
  const log = pino({}, { write: (line: string) => void lines.push(line) });
  const { http } = vault;
  const clock = { offsetMs: 0 };
  const now = (): number => vault.now() + clock.offsetMs;
  const random = (): number => 0;
  const api = new VaultClient({ ...{ http, now, random, log }, retry: createRetry({ baseMs: 1 }) });
  const credentialGate = new CredentialGate({ rejectionCache: new RejectionCache({ now }), now });
  const tokens = new VaultTokenManager({ api, credentialGate, now, random, log });
  cleanups.push(() => tokens.close(AbortSignal.abort()));
  const pod = (jwt: string, login: Partial<VaultLogin> = {}): VaultIdentity => ({
    login: vault.login(login),
    getCredential: () => Promise.resolve({ kind: 'jwt', token: new Redacted(jwt) }),
  });
  const app: VaultIdentity = {
    login: vault.login(),
    getCredential: () =>
      Promise.resolve({ kind: 'jwt', token: new Redacted(vault.issuer.podToken()) }),
  };
  return {
    ...{ vault, clock, api, tokens, pod, app, lines },
    getSession: (cacheKey = 'app', identity = app): Promise<VaultSession> =>
      tokens.getSession(cacheKey, identity, neverAborted),
    /** Ticks, and waits until the background work is done. */
    async tick(isDone: () => boolean | Promise<boolean>): Promise<void> {
      tokens.tick();
      const end = Date.now() + 2_000;
      while (!(await isDone()) && Date.now() < end)
        await new Promise((resolve) => setTimeout(resolve, 1));
      expect(await isDone()).toBe(true);
    },
    /** Ticks, and waits for background work that must not happen. */
    async idle(): Promise<void> {
      tokens.tick();
      await new Promise((resolve) => setTimeout(resolve, 30));
    },
    logins: () => vault.count(/^POST .v1.auth.*login$/),
    renewals: () => vault.count('POST /v1/auth/token/renew-self'),
    states: () => vault.tokens.all().map(({ state }) => state),
  };
}

async function failureOf(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.then(
    () => 'no error',
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SecretError);
  return `${(error as SecretError).code}: ${(error as SecretError).summary}`;
}

test('a token longer than Vault makes is rejected', async () => {
  const { vault, getSession } = await setUp();
  const loginResponse = (length: number) =>
    vaultResponse(
      'null',
      {},
      {
        auth: {
          client_token: 'x'.repeat(length),
          lease_duration: 60,
          renewable: true,
          metadata: { role: 'app' },
        },
      },
    );
  vault.node.injectFault({ times: 1, response: loginResponse(32_769) });
  expect(await failureOf(getSession())).toMatch(
    /^CREDENTIALS_UNAVAILABLE: .*that Keyferry does not understand/,
  );
  vault.node.injectFault({ times: 1, response: loginResponse(32_768) });
  expect((await getSession()).token.reveal()).toHaveLength(32_768);
});

describe('a token', () => {
  test('comes from one login for 50 mounts at once, and is kept', async () => {
    const { getSession, logins } = await setUp();
    const sessions = await Promise.all(Array.from({ length: 50 }, () => getSession()));
    expect(new Set([...sessions, await getSession()]).size).toBe(1);
    expect(logins()).toBe(1);
    expect(await getSession('another')).not.toBe(sessions[0]);
    expect(logins()).toBe(2);
  });

  test('is renewed at two thirds of its life while it is used, and its end moves', async () => {
    const { vault, getSession, tick, idle, logins, renewals } = await setUp({ ttlMs: minutes(60) });
    const session = await getSession();
    const before = Number(session.expiresAt);
    vault.advanceClock(minutes(39));
    await getSession();
    expect(renewals()).toBe(0);
    vault.advanceClock(minutes(2));
    await tick(() => renewals() === 1 && Number(session.expiresAt) > before);
    expect(Number(session.expiresAt) - before).toBeCloseTo(minutes(41), -4);
    // It was not used since.
    vault.advanceClock(minutes(41));
    await idle();
    expect(renewals()).toBe(1);
    expect(await getSession()).toBe(session);
    await tick(() => renewals() === 2);
    expect(logins()).toBe(1);
  });

  test('without use expires, unless a lease depends on it', async () => {
    const { vault, tokens, getSession, tick, idle, renewals, logins } = await setUp({
      ttlMs: minutes(60),
    });
    const [leasing, unused] = [await getSession('leasing'), await getSession('unused')];
    const release = tokens.retain(leasing);
    for (let round = 1; round <= 4; round += 1) {
      const before = Number(leasing.expiresAt);
      vault.advanceClock(minutes(41));
      await tick(() => Number(leasing.expiresAt) > before && (round > 1 || renewals() === 2));
    }
    // The other one was used once, before it was renewed for the first time.
    expect(renewals()).toBe(5);
    expect(vault.tokens.find(unused.token.reveal())).toBeUndefined();
    expect(await getSession('leasing')).toBe(leasing);
    expect(await getSession('unused')).not.toBe(unused);
    expect(logins()).toBe(3);
    release();
    release();
    const before = Number(leasing.expiresAt);
    vault.advanceClock(minutes(41));
    await tick(() => Number(leasing.expiresAt) > before && renewals() === 7);
    vault.advanceClock(minutes(41));
    await idle();
    expect(renewals()).toBe(7);
  });

  test('near its max TTL is followed by a login, in the background, before it ends', async () => {
    const { vault, getSession, tick, logins, renewals } = await setUp({
      ttlMs: minutes(60),
      maxTtlMs: minutes(75),
    });
    const session = await getSession();
    vault.advanceClock(minutes(41));
    await getSession();
    await tick(() => Number(session.expiresAt) - vault.now() > minutes(33));
    vault.advanceClock(minutes(20));
    expect(await getSession()).toBe(session);
    expect(logins()).toBe(1);
    vault.advanceClock(minutes(4));
    // It stays in use until the next one comes.
    expect(await getSession()).toBe(session);
    await tick(() => logins() === 2);
    await tick(async () => (await getSession()) !== session);
    expect([logins(), renewals()]).toEqual([2, 1]);
  });

  test('of type batch is never renewed: a login follows at two thirds', async () => {
    const { vault, getSession, tick, tokens, logins, renewals } = await setUp({
      ttlMs: minutes(60),
      tokenType: 'batch',
    });
    const session = await getSession();
    expect(session.token.reveal()).toMatch(/^hvb\./);
    tokens.retain(session);
    vault.advanceClock(minutes(41));
    expect(await getSession()).toBe(session);
    await tick(() => logins() === 2);
    expect(renewals()).toBe(0);
    await tokens.close(neverAborted);
    expect(vault.count('POST /v1/auth/token/revoke-self')).toBe(0);
  });

  test('that has ended is not used: the mount waits for a login', async () => {
    const { vault, getSession, logins } = await setUp({ ttlMs: minutes(60) });
    const session = await getSession();
    vault.advanceClock(minutes(60) - 29_000);
    expect(await getSession()).not.toBe(session);
    expect(logins()).toBe(2);
  });

  test('stays in use where its renewal fails, with a log line and a retry', async () => {
    const { vault, getSession, tick, lines, renewals } = await setUp({ ttlMs: minutes(60) });
    const session = await getSession();
    vault.node.state = 'sealed';
    vault.advanceClock(minutes(41));
    await tick(() => lines.length === 1);
    expect(lines[0]).toContain('token renewal failed');
    expect(lines[0]).not.toContain(session.token.reveal());
    expect(await getSession()).toBe(session);
    vault.node.state = 'active';
    vault.advanceClock(20_001);
    await tick(() => vault.tokens.find(session.token.reveal())?.renewals === 1);
    expect(renewals()).toBe(2);
  });

  test('that a renewal finds revoked has ended for its leases, too', async () => {
    const { vault, tokens, getSession, tick, lines } = await setUp({ ttlMs: minutes(60) });
    const session = await getSession();
    tokens.retain(session);
    const known = vault.tokens.find(session.token.reveal());
    if (known !== undefined) vault.tokens.revoke(known);
    vault.advanceClock(minutes(41));
    await tick(() => lines.length === 1);
    expect(Number(session.expiresAt)).toBeLessThanOrEqual(vault.now());
    expect(await getSession()).not.toBe(session);
  });

  test('whose policies deny a renewal is followed by a login', async () => {
    const { vault, getSession, tick, lines, logins } = await setUp({ ttlMs: minutes(60) });
    const session = await getSession();
    vault.policy('default', {});
    vault.advanceClock(minutes(41));
    await tick(() => lines.length === 1);
    expect(await getSession()).toBe(session);
    vault.advanceClock(20_001);
    await getSession();
    await tick(() => logins() === 2);
  });

  test('with a number of uses is used so often', async () => {
    const { vault, getSession, logins } = await setUp();
    vault.node.injectFault({
      route: 'POST /v1/auth/kubernetes/login',
      response: {
        body: {
          auth: {
            ...{ client_token: 'hvs.twice', lease_duration: 3600, renewable: true, num_uses: 2 },
            metadata: { role: 'app' },
          },
        },
      },
    });
    for (let count = 0; count < 5; count += 1) await getSession();
    expect(logins()).toBe(3);
  });
});

describe('a token from before the clock was set back', () => {
  test('is renewed at once, although its due time is far ahead', async () => {
    const { vault, clock, getSession, tick, idle, renewals } = await setUp({ ttlMs: minutes(60) });
    clock.offsetMs = minutes(1_440);
    const session = await getSession();
    clock.offsetMs = 0;
    vault.advanceClock(minutes(1));
    expect(await getSession()).toBe(session);
    await tick(() => renewals() === 1 && Number(session.expiresAt) < vault.now() + minutes(61));
    await idle();
    expect(renewals()).toBe(1);
  });

  test('is renewed also where a renewal has just failed', async () => {
    const { vault, clock, getSession, tick, lines } = await setUp({ ttlMs: minutes(60) });
    clock.offsetMs = minutes(1_440);
    const session = await getSession();
    vault.node.state = 'sealed';
    vault.advanceClock(minutes(41));
    await tick(() => lines.length === 1);
    vault.node.state = 'active';
    clock.offsetMs = 0;
    await tick(() => vault.tokens.find(session.token.reveal())?.renewals === 1);
  });

  test('that cannot be renewed is followed by a login', async () => {
    const { vault, clock, getSession, tick, logins } = await setUp({
      ttlMs: minutes(60),
      tokenType: 'batch',
    });
    clock.offsetMs = minutes(1_440);
    const session = await getSession();
    clock.offsetMs = 0;
    vault.advanceClock(minutes(1));
    expect(await getSession()).toBe(session);
    await tick(async () => (await getSession()) !== session);
    expect(logins()).toBe(2);
  });

  test('that is refused is followed by a login, too', async () => {
    const { clock, tokens, getSession, logins } = await setUp();
    clock.offsetMs = minutes(60);
    const session = await getSession();
    clock.offsetMs = 0;
    expect(tokens.invalidate('app', session)).toBe(true);
    await getSession();
    expect(logins()).toBe(2);
  });
});

describe('a token that is refused', () => {
  test('causes one login, at most once a minute over all mounts', async () => {
    const { vault, tokens, getSession, logins } = await setUp();
    const session = await getSession();
    // It is new: another one would be refused, too.
    expect(tokens.invalidate('app', session)).toBe(false);
    vault.advanceClock(minutes(1));
    expect(Array.from({ length: 50 }, () => tokens.invalidate('app', session))).not.toContain(
      false,
    );
    const next = await Promise.all(Array.from({ length: 50 }, () => getSession()));
    expect(new Set(next).size).toBe(1);
    expect(logins()).toBe(2);
    // A late caller with the old one gets the new one, which stays.
    expect(tokens.invalidate('app', session)).toBe(true);
    expect(next.map((each) => tokens.invalidate('app', each))).not.toContain(true);
    vault.advanceClock(minutes(1));
    expect(next.map((each) => tokens.invalidate('app', each))).not.toContain(false);
  });

  test('is revoked when no call can use it any more, but never under a lease', async () => {
    const { vault, tokens, getSession, tick, idle, states } = await setUp();
    const plain = await getSession('plain');
    const leasing = await getSession('leasing');
    const release = tokens.retain(leasing);
    vault.advanceClock(minutes(1));
    tokens.invalidate('plain', plain);
    await getSession('plain');
    tokens.invalidate('leasing', leasing);
    await getSession('leasing');
    vault.advanceClock(minutes(1));
    await idle();
    expect(states()).toEqual(['good', 'good', 'good', 'good']);
    vault.advanceClock(minutes(1) + 1);
    await tick(() => states()[0] === 'revoked');
    await idle();
    expect(states()).toEqual(['revoked', 'good', 'good', 'good']);
    release();
    release();
    await tick(() => states()[1] === 'revoked');
  });
});

describe('closing', () => {
  test("revokes the tokens of Keyferry's logins, except those with leases", async () => {
    const { vault, tokens, getSession, states } = await setUp();
    tokens.retain(await getSession('leasing'));
    await getSession('plain');
    await getSession('given', {
      login: vault.login({ method: 'token' }),
      getCredential: () =>
        Promise.resolve({ kind: 'token', token: new Redacted(vault.rootToken()) }),
    });
    await tokens.close(neverAborted);
    expect(states()).toEqual(['good', 'revoked', 'good']);
  });
});

describe('a login', () => {
  const login: Partial<VaultLogin> = { method: 'approle', mount: 'approle' };
  const approle = (roleId: string, secretId: () => string) => ({
    getCredential: () =>
      Promise.resolve({
        kind: 'approle' as const,
        roleId: new Redacted(roleId),
        secretId: new Redacted(secretId()),
      }),
  });

  test('with a wrong secret id is sent at most twice a minute for 500 mounts of any principals', async () => {
    const { vault, getSession, logins } = await setUp();
    const { roleId } = vault.auth.approle().role('app');
    const identity = { login: vault.login(login), ...approle(roleId, () => 'canary-secret-id') };
    const failures = await Promise.all(
      Array.from({ length: 500 }, (_, index) =>
        failureOf(getSession(`pod-${index % 100}`, identity)),
      ),
    );
    expect(new Set(failures)).toEqual(
      new Set([
        'CREDENTIALS_REFUSED: Vault refused the login of role app (auth/approle) (HTTP 400: "invalid secret id"); ' +
          'the secret id is wrong, has expired, or has been used as often as it may be: make a new one',
      ]),
    );
    expect(logins()).toBe(1);
    vault.advanceClock(minutes(1));
    await failureOf(getSession('pod-1', identity));
    await failureOf(getSession('pod-2', identity));
    expect(logins()).toBe(2);
    // The second pause is twice as long.
    vault.advanceClock(minutes(1));
    await failureOf(getSession('pod-1', identity));
    expect(logins()).toBe(2);
  });

  test('with a new secret id in place of a wrong one is sent at once', async () => {
    const { vault, getSession, logins } = await setUp();
    const role = vault.auth.approle().role('app');
    let secretId = 'wrong';
    const identity = { login: vault.login(login), ...approle(role.roleId, () => secretId) };
    await failureOf(getSession('app', identity));
    secretId = role.secretId(1);
    await getSession('app', identity);
    expect(logins()).toBe(2);
    // Its only use is over.
    expect(await failureOf(getSession('another', identity))).toMatch(/invalid secret id/);
  });

  test('is not repeated after a lost response: a secret id may have one use only', async () => {
    const { vault, getSession, logins } = await setUp();
    const role = vault.auth.approle().role('app');
    const identity = { login: vault.login(login), ...approle(role.roleId, () => role.secretId(1)) };
    vault.node.dropResponses(1);
    expect(await failureOf(getSession('app', identity))).toMatch(
      /^CREDENTIALS_UNAVAILABLE: no token for role app \(auth\/approle\): .* broke the connection/,
    );
    expect(logins()).toBe(1);
  });

  test.each([400, 429, 500])('shows no secret when HTTP %d repeats it', async (status) => {
    const { vault, getSession } = await setUp();
    const role = vault.auth.approle().role('app');
    const secretId = role.secretId();
    const identity = { login: vault.login(login), ...approle(role.roleId, () => secretId) };
    const body = { errors: [`cannot read ${JSON.stringify({ secret_id: secretId })}`] };
    vault.node.injectFault({ route: 'POST', response: { status, body } });
    const failure = await failureOf(getSession('app', identity));
    expect(failure).not.toContain(secretId);
    expect(failure).toContain(`HTTP ${status}`);
  });

  test('names its identity in an outage of Vault', async () => {
    const { vault, getSession } = await setUp();
    vault.node.state = 'sealed';
    expect(await failureOf(getSession())).toMatch(
      /^CREDENTIALS_UNAVAILABLE: no token for role app \(auth\/kubernetes\): https:.* is sealed \(HTTP 503\); unseal/,
    );
  });

  test('that gets no response is sent once for all callers with the same credential', async () => {
    const { vault, getSession, logins } = await setUp();
    const role = vault.auth.approle().role('app');
    const secretId = role.secretId();
    const identity = { login: vault.login(login), ...approle(role.roleId, () => secretId) };
    vault.node.injectFault({ route: 'POST', delayMs: 20, reset: true });
    const failures = await Promise.all(
      Array.from({ length: 20 }, (_, index) => failureOf(getSession(`pod-${index}`, identity))),
    );
    expect(new Set(failures).size).toBe(1);
    expect(failures[0]).toMatch(/^CREDENTIALS_UNAVAILABLE: /);
    expect(logins()).toBe(1);
  });

  test('is not sent for method token: the present token is used, and a new one at once', async () => {
    const { vault, tokens, getSession, logins, renewals } = await setUp();
    let token = 'hvs.first';
    const identity: VaultIdentity = {
      login: vault.login({ method: 'token' }),
      getCredential: () => Promise.resolve({ kind: 'token', token: new Redacted(token) }),
    };
    const first = await getSession('app', identity);
    expect(await getSession('app', identity)).toBe(first);
    expect(tokens.invalidate('app', first)).toBe(false);
    vault.advanceClock(minutes(10_000));
    tokens.tick();
    token = 'hvs.second';
    expect((await getSession('app', identity)).token.reveal()).toBe('hvs.second');
    expect([logins(), renewals()]).toEqual([0, 0]);
  });

  test.each<[string, Partial<VaultLogin>, RegExp]>([
    [
      'a role that does not exist',
      { role: 'nope' },
      /invalid role name.*; make role "nope" at auth\/kubernetes/,
    ],
    [
      'another namespace than that of the role',
      {},
      /namespace not authorized.*bound_service_account_namespaces/,
    ],
    [
      'a path where nothing is mounted',
      { mount: 'k8s/prod' },
      /role app \(auth\/k8s\/prod\) .*permission denied.*mounted at auth\/k8s\/prod/,
    ],
  ])('fails with the cause: %s', async (_, fields, pattern) => {
    const { vault, getSession, pod } = await setUp();
    const jwt = vault.issuer.podToken({ namespace: 'team-b' });
    const failure = await failureOf(getSession('app', pod(jwt, fields)));
    expect(failure).toMatch(pattern);
    expect(failure).toMatch(/^CREDENTIALS_REFUSED: Vault refused the login of /);
  });

  test('of a JWT fails by audience, subject, signature and time', async () => {
    const { vault, getSession, pod } = await setUp();
    vault.auth
      .jwt()
      .role('app', { audiences: ['vault'], subject: 'system:serviceaccount:team-a:app' });
    const { podToken } = vault.issuer;
    const logInWith = (jwt: string) => getSession(jwt, pod(jwt, { method: 'jwt', mount: 'jwt' }));
    await logInWith(podToken());
    expect(await failureOf(logInWith(podToken({ audience: 'aud-2' })))).toMatch(
      /audience.*must have the audience "vault"/,
    );
    expect(await failureOf(logInWith(podToken({ serviceAccount: 'web' })))).toMatch(
      /\(sub\) claim.*bound_subject/,
    );
    expect(await failureOf(logInWith(podToken({ lifeMs: -1 })))).toMatch(/token is expired.*clock/);
    expect(await failureOf(logInWith(`${podToken().slice(0, -8)}AAAAAAAA`))).toMatch(
      /signature.*keys of this cluster/,
    );
  });

  test('is remembered as refused only after a response of Vault, not of a proxy', async () => {
    const { vault, getSession } = await setUp();
    vault.node.injectFault({ response: { status: 403, body: '<html>Forbidden</html>' }, times: 1 });
    expect(await failureOf(getSession())).toMatch(
      /^CREDENTIALS_UNAVAILABLE: .*does not look like one from Vault/,
    );
    await getSession();
  });

  test("has an error without the token that Vault's text repeats", async () => {
    const { vault, getSession, pod } = await setUp();
    const jwt = vault.issuer.podToken();
    vault.node.injectFault({ response: { status: 400, body: { errors: [`bad token ${jwt}`] } } });
    const failure = await failureOf(getSession('app', pod(jwt)));
    expect(failure).toContain('withheld');
    expect(failure).not.toContain(jwt.slice(40, 60));
  });

  test('in a namespace of its own', async () => {
    const { vault, getSession, pod } = await setUp({}, { namespaces: ['team-a', 'team-b'] });
    vault.inNamespace('team-a').auth.kubernetes().role('app');
    const jwt = vault.issuer.podToken();
    const session = await getSession('a', pod(jwt, { namespace: 'team-a' }));
    expect(vault.inNamespace('team-a').tokens.find(session.token.reveal())).toBeDefined();
    expect(await failureOf(getSession('b', pod(jwt, { namespace: 'team-b' })))).toMatch(
      /role app \(auth\/kubernetes, namespace team-b\) .*in this namespace\?/,
    );
    expect(await failureOf(getSession('c', pod(jwt, { namespace: 'nowhere' })))).toMatch(
      /^CREDENTIALS_REFUSED: .*"namespace not found"\); check vaultNamespace$/,
    );
  });
});
