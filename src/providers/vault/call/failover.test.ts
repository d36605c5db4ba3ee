import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { Redacted } from '../../../core/redacted.ts';
import { SecretError } from '../../../core/errors.ts';
import { createRetry } from '../../../concurrency/retry.ts';
import { indexNotPresent, rateLimited } from '../../../../test/fakes/vault-responses.ts';
import { startFakeVault, type FakeVaultOptions } from '../../../../test/fakes/vault.ts';
import { createVaultApi, type VaultResponse } from './api.ts';
import type { VaultCall } from './request.ts';

const neverAborted = new AbortController().signal;
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of cleanups.splice(0).reverse()) await close();
});

/** A cluster with one secret and one database role, and who asks it. */
async function setUp(options?: FakeVaultOptions) {
  const vault = await startFakeVault(options);
  cleanups.push(() => vault.close());
  vault.kv2().put('app', { password: 'canary' });
  const database = vault.database();
  database.role('app');
  const lines: string[] = [];
  const failedAttempts: string[] = [];
  const api = createVaultApi({
    http: vault.http,
    now: vault.now,
    retry: createRetry({
      baseMs: 1,
      onFailedAttempt: ({ code }) => void failedAttempts.push(code),
    }),
    random: () => 0,
    log: pino({}, { write: (line: string) => void lines.push(line) }),
  });
  const token = new Redacted(vault.rootToken());
  const call = (fields: Partial<VaultCall> = {}): Promise<VaultResponse> =>
    api.call({
      ...{ token, method: 'GET', path: 'secret/data/app', signal: neverAborted, mayIssue: false },
      login: vault.login(),
      ...fields,
    });
  /** Which node answered, or the line a user would see. */
  const callOutcome = async (fields?: Partial<VaultCall>): Promise<number | string> => {
    try {
      return vault.addresses.indexOf((await call(fields)).address);
    } catch (error) {
      if (error instanceof SecretError) return `${error.code}: ${error.summary}`;
      throw error;
    }
  };
  const issue = { path: 'database/creds/app', mayIssue: true };
  return { vault, database, lines, failedAttempts, api, token, call, asked: callOutcome, issue };
}

describe('a call', () => {
  test('says who asks, and that it is no web page', async () => {
    const { vault, token, call } = await setUp();
    const answer = await call();
    expect(answer.json()).toMatchObject({ data: { data: { password: 'canary' } } });
    expect(vault.node.requests[0]?.headers).toMatchObject({
      'x-vault-token': token.reveal(),
      'x-vault-request': 'true',
    });
    expect(vault.node.requests[0]?.headers).not.toHaveProperty('x-vault-namespace');
  });

  test('goes into the namespace of its login, or another one', async () => {
    const { vault, api } = await setUp({ namespaces: ['team-a', 'team-b'] });
    const namespaceVault = vault.inNamespace('team-a');
    namespaceVault.kv2().put('app', { password: 'of team-a' });
    const login = vault.login({ namespace: 'team-a' });
    const call = {
      login,
      method: 'GET',
      path: 'secret/data/app',
      signal: neverAborted,
      mayIssue: false,
    };
    const token = new Redacted(namespaceVault.rootToken());
    const answer = await api.call({ ...call, token });
    expect(answer.json()).toMatchObject({ data: { data: { password: 'of team-a' } } });
    await expect(api.call({ ...call, token, namespace: 'team-b' })).rejects.toMatchObject({
      code: 'CREDENTIALS_REFUSED',
    });
    await expect(api.call({ ...call, token, namespace: 'nowhere' })).rejects.toMatchObject({
      code: 'STORE_REFUSED_REQUEST',
      hint: 'check vaultNamespace',
    });
    await expect(api.call({ ...call, token, namespace: 'a\r\nx-evil: 1' })).rejects.toMatchObject({
      code: 'INVALID_CLASS',
    });
  });

  test('goes over the unix socket of an Agent', async () => {
    const { vault, asked: callOutcome } = await setUp({ socket: true });
    expect(vault.addresses[0]).toMatch(/^unix:\/\/\/.*\.sock$/);
    expect(await callOutcome()).toBe(0);
    await vault.node.close();
    expect(await callOutcome()).toMatch(
      /^STORE_UNAVAILABLE: \/.*\/0\.sock (has no socket there|refused the connection)/,
    );
  });

  test('keeps every digit of an answer, and lists by a parameter', async () => {
    const { vault, call } = await setUp();
    vault.kv2('numbers').put('n', '{"id":12345678901234567890,"price":1.50}');
    const { data } = (await call({ path: 'numbers/data/n' })).json() as { data: { data: object } };
    expect(String(Object.values(data.data))).toBe('12345678901234567890,1.50');
    await call({ method: 'LIST', path: 'secret/metadata/' }).catch(() => undefined);
    expect(vault.node.requests.at(-1)).toMatchObject({ method: 'GET', query: 'list=true' });
  });

  test.each([
    'secret/data/../../sys/raw/x',
    'secret/data/%2e%2e/x',
    'secret/a b',
    'secret/a#b',
    '../x',
  ])('is not sent where its path would become another: %s', async (path) => {
    const { vault, asked: callOutcome } = await setUp();
    expect(await callOutcome({ path })).toMatch(/^INVALID_CLASS: /);
    expect(vault.count()).toBe(0);
  });
});

describe('several addresses', () => {
  test('are asked in their order, and who answered is asked on', async () => {
    const { vault, asked: callOutcome, lines } = await setUp({ nodes: 3 });
    expect([await callOutcome(), await callOutcome()]).toEqual([0, 0]);
    await vault.nodes[0]?.close();
    expect([await callOutcome(), await callOutcome(), await callOutcome()]).toEqual([1, 1, 1]);
    expect(vault.nodes[2]?.count()).toBe(0);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(`"to":"${vault.addresses[1]}"`);
  });

  test.each([
    'sealed',
    'uninitialised',
    'no-active',
    'dr-secondary',
    'cut-off',
    'removed',
  ] as const)('a node that is %s is passed over, for calls that issue, too', async (state) => {
    const { vault, database, asked: callOutcome, issue } = await setUp({ nodes: 2 });
    vault.node.state = state;
    expect(await callOutcome(issue)).toBe(1);
    expect(await callOutcome()).toBe(1);
    expect(database.createdCount()).toBe(1);
  });

  test.each(['standby', 'performance-standby'] as const)('a %s serves', async (state) => {
    const { vault, asked: callOutcome } = await setUp({ nodes: 2 });
    vault.node.state = state;
    expect(await callOutcome()).toBe(0);
  });

  test('a node that takes the connection and never answers is passed over by reads', async () => {
    const { vault, asked: callOutcome } = await setUp({ nodes: 2 });
    vault.node.injectFault({ reset: true });
    expect(await callOutcome()).toBe(1);
  });

  test('a gateway that says 502 for one node is no answer; Vault’s own 500 is', async () => {
    const { vault, database, asked: callOutcome, issue } = await setUp({ nodes: 2 });
    vault.node.injectFault({ response: { status: 502, body: '<html>bad gateway</html>' } });
    expect(await callOutcome()).toBe(1);
    database.database.down = true;
    expect(await callOutcome(issue)).toMatch(/^STORE_UNAVAILABLE: .*connection refused/);
    expect(vault.count('GET /v1/database')).toBe(1);
  });

  test('when none serves, each is named', async () => {
    const { vault, asked: callOutcome } = await setUp({ nodes: 2 });
    const [first, second] = vault.addresses;
    vault.node.state = 'sealed';
    await vault.nodes[1]?.close();
    const host = new URL(String(second)).host;
    expect(await callOutcome()).toBe(
      `STORE_UNAVAILABLE: none of 2 addresses serves: ${first} is sealed (HTTP 503); ` +
        `${host} refused the connection (ECONNREFUSED); unseal it; if it seals itself again, its log says why`,
    );
  });
});

describe('a node that failed', () => {
  test('is left alone for a growing while, then looked at once, by its health', async () => {
    const { vault, asked: callOutcome } = await setUp();
    vault.node.state = 'sealed';
    expect(await callOutcome()).toMatch(/^STORE_UNAVAILABLE: .* is sealed/);
    // Of three attempts two have only looked, each after the time in which it was left alone.
    expect(vault.count('GET /v1/secret')).toBe(1);
    expect(vault.count('GET /v1/sys/health')).toBe(2);

    vault.node.state = 'active';
    vault.advanceClock(10_000);
    const healthCheckCount = vault.count('GET /v1/sys/health');
    expect(await Promise.all(Array.from({ length: 20 }, () => callOutcome()))).toEqual(
      Array(20).fill(0),
    );
    expect(vault.count('GET /v1/sys/health')).toBe(healthCheckCount + 1);
  });

  test('is left alone by its way: a wrong CA of one class closes no door to others', async () => {
    const { vault, asked: callOutcome, failedAttempts } = await setUp();
    const login = vault.login({ tls: { serverName: 'another.example' } });
    expect(await callOutcome({ login })).toMatch(/certificate for another name/);
    failedAttempts.length = 0;
    expect(await callOutcome()).toBe(0);
    expect(failedAttempts).toEqual([]);
  });

  test('whose reply was lost is looked at, not left alone: the fault may be that of one slow database', async () => {
    const { vault, asked: callOutcome, issue, failedAttempts } = await setUp();
    vault.node.dropResponses(1);
    expect(await callOutcome(issue)).toMatch(/^STORE_UNAVAILABLE: .* broke the connection/);
    failedAttempts.length = 0;
    expect(await callOutcome()).toBe(0);
    expect(failedAttempts).toEqual([]);
    expect(vault.count('GET /v1/sys/health')).toBe(1);
    expect(await callOutcome()).toBe(0);
    expect(vault.count('GET /v1/sys/health')).toBe(1);
  });
});

describe('a call that issues', () => {
  test('is never sent again after its reply was lost, here or elsewhere', async () => {
    const { vault, database, asked: callOutcome, issue } = await setUp({ nodes: 2 });
    vault.node.dropResponses(1);
    expect(await callOutcome(issue)).toMatch(/^STORE_UNAVAILABLE: .* broke the connection/);
    expect(database.createdCount()).toBe(1);
    expect(vault.count('GET /v1/database')).toBe(1);
  });

  test('a read is, at once', async () => {
    const { vault, asked: callOutcome } = await setUp({ nodes: 2 });
    vault.node.dropResponses(1);
    expect(await callOutcome()).toBe(1);
  });

  test('is sent again where it surely reached nobody', async () => {
    const { vault, database, asked: callOutcome, issue } = await setUp({ nodes: 2 });
    await vault.node.close();
    expect(await callOutcome(issue)).toBe(1);
    vault.nodes[1]?.injectFault({ response: indexNotPresent, times: 2 });
    expect(await callOutcome(issue)).toBe(1);
    expect(database.createdCount()).toBe(2);
  });
});

describe('an answer that passes by itself', () => {
  test('412: asked again', async () => {
    const { vault, asked: callOutcome } = await setUp();
    vault.node.injectFault({ response: indexNotPresent, times: 2 });
    expect(await callOutcome()).toBe(0);
    vault.node.injectFault({ response: indexNotPresent });
    expect(await callOutcome()).toMatch(
      /^STORE_UNAVAILABLE: .* has not caught up .*secret\/data\/app/,
    );
  });

  test('429: a quota, asked again, but not before the time it names', async () => {
    const { vault, asked: callOutcome } = await setUp();
    vault.node.injectFault({ response: rateLimited('secret/data/app'), times: 2 });
    expect(await callOutcome()).toBe(0);
    vault.node.injectFault({ response: rateLimited('secret/data/app', 6) });
    expect(await callOutcome()).toMatch(
      /^STORE_THROTTLED: .*"request path .* rate limit quota exceeded"/,
    );
    expect(vault.count('GET /v1/secret')).toBe(4);
  });

  test('is told without the token that it may repeat', async () => {
    const { vault, token, asked: callOutcome } = await setUp();
    vault.node.injectFault({
      response: { status: 500, body: { errors: [`token ${token.reveal()} met trouble`] } },
    });
    expect(await callOutcome()).toMatch(/^STORE_UNAVAILABLE: .*withheld/);
  });
});
