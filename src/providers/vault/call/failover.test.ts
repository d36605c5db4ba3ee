import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { Redacted } from '../../../core/redacted.ts';
import { SecretError } from '../../../core/errors.ts';
import { createRetry } from '../../../concurrency/retry.ts';
import { indexNotPresent, rateLimited } from '../../../../test/fakes/vault-responses.ts';
import { startFakeVault, type FakeVaultOptions } from '../../../../test/fakes/vault.ts';
import { VaultClient, type VaultResponse } from './api.ts';
import type { VaultCall } from './request.ts';

const neverAborted = new AbortController().signal;
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of cleanups.splice(0).reverse()) await close();
});

/** A cluster with one secret and one database role, and a client. */
async function setUp(options?: FakeVaultOptions) {
  const vault = await startFakeVault(options);
  cleanups.push(() => vault.close());
  vault.kv2().put('app', { password: 'canary' });
  const database = vault.database();
  database.role('app');
  const lines: string[] = [];
  const failedAttempts: string[] = [];
  const api = new VaultClient({
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
  /** The node that responded, or the error line of a user. */
  const callOutcome = async (fields?: Partial<VaultCall>): Promise<number | string> => {
    try {
      return vault.addresses.indexOf((await call(fields)).address);
    } catch (error) {
      if (error instanceof SecretError) return `${error.code}: ${error.summary}`;
      throw error;
    }
  };
  const issue = { path: 'database/creds/app', mayIssue: true };
  return { vault, database, lines, failedAttempts, api, token, call, callOutcome, issue };
}

describe('a call', () => {
  test('sends its token, and the header that no web page sends', async () => {
    const { vault, token, call } = await setUp();
    const response = await call();
    expect(response.json()).toMatchObject({ data: { data: { password: 'canary' } } });
    expect(vault.node.requests[0]?.headers).toMatchObject({
      'x-vault-token': token.reveal(),
      'x-vault-request': 'true',
    });
    expect(vault.node.requests[0]?.headers).not.toHaveProperty('x-vault-namespace');
  });

  test('is sent to the namespace of its login, or to its own', async () => {
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
    const response = await api.call({ ...call, token });
    expect(response.json()).toMatchObject({ data: { data: { password: 'of team-a' } } });
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

  test('uses the unix socket of an Agent', async () => {
    const { vault, callOutcome } = await setUp({ socket: true });
    expect(vault.addresses[0]).toMatch(/^unix:\/\/\/.*\.sock$/);
    expect(await callOutcome()).toBe(0);
    await vault.node.close();
    expect(await callOutcome()).toMatch(
      /^STORE_UNAVAILABLE: \/.*\/0\.sock (has no socket there|refused the connection)/,
    );
  });

  test('keeps every digit of a response, and lists by a parameter', async () => {
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
  ])('is not sent where a URL changes its path: %s', async (path) => {
    const { vault, callOutcome } = await setUp();
    expect(await callOutcome({ path })).toMatch(/^INVALID_CLASS: /);
    expect(vault.count()).toBe(0);
  });
});

describe('several addresses', () => {
  test('are tried in their order, and the one that responded stays the first', async () => {
    const { vault, callOutcome, lines } = await setUp({ nodes: 3 });
    expect([await callOutcome(), await callOutcome()]).toEqual([0, 0]);
    await vault.nodes[0]?.close();
    expect([await callOutcome(), await callOutcome(), await callOutcome()]).toEqual([1, 1, 1]);
    expect(vault.nodes[2]?.count()).toBe(0);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(`"to":"${vault.addresses[1]}"`);
    expect(lines[0]).toContain('"provider":"vault"');
  });

  test.each([
    'sealed',
    'uninitialised',
    'no-active',
    'dr-secondary',
    'cut-off',
    'removed',
  ] as const)('a node that is %s is passed over, for calls that issue, too', async (state) => {
    const { vault, database, callOutcome, issue } = await setUp({ nodes: 2 });
    vault.node.state = state;
    expect(await callOutcome(issue)).toBe(1);
    expect(await callOutcome()).toBe(1);
    expect(database.createdCount()).toBe(1);
  });

  test.each(['standby', 'performance-standby'] as const)(
    'include a %s, which serves',
    async (state) => {
      const { vault, callOutcome } = await setUp({ nodes: 2 });
      vault.node.state = state;
      expect(await callOutcome()).toBe(0);
    },
  );

  test('include a node that never responds: reads skip it', async () => {
    const { vault, callOutcome } = await setUp({ nodes: 2 });
    vault.node.injectFault({ reset: true });
    expect(await callOutcome()).toBe(1);
  });

  test('include a gateway: its 502 leads to the next node, a 500 of Vault does not', async () => {
    const { vault, database, callOutcome, issue } = await setUp({ nodes: 2 });
    vault.node.injectFault({ response: { status: 502, body: '<html>bad gateway</html>' } });
    expect(await callOutcome()).toBe(1);
    database.database.down = true;
    expect(await callOutcome(issue)).toMatch(/^STORE_UNAVAILABLE: .*connection refused/);
    expect(vault.count('GET /v1/database')).toBe(1);
  });

  test('are all named where none serves', async () => {
    const { vault, callOutcome } = await setUp({ nodes: 2 });
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
  test('gets no request for a growing time, and then one health check', async () => {
    const { vault, callOutcome } = await setUp();
    vault.node.state = 'sealed';
    expect(await callOutcome()).toMatch(/^STORE_UNAVAILABLE: .* is sealed/);
    // Of three attempts, two are health checks, each after the cooldown.
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

  test('is skipped only with the same TLS settings: a wrong CA of one class does not affect others', async () => {
    const { vault, callOutcome, failedAttempts } = await setUp();
    const login = vault.login({ tls: { serverName: 'another.example' } });
    expect(await callOutcome({ login })).toMatch(/certificate for another name/);
    failedAttempts.length = 0;
    expect(await callOutcome()).toBe(0);
    expect(failedAttempts).toEqual([]);
  });

  test('gets a health check after a lost response, which a slow database can cause', async () => {
    const { vault, callOutcome, issue, failedAttempts } = await setUp();
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

describe('a call that may issue something', () => {
  test('is never repeated after a lost response, at this node or another one', async () => {
    const { vault, database, callOutcome, issue } = await setUp({ nodes: 2 });
    vault.node.dropResponses(1);
    expect(await callOutcome(issue)).toMatch(/^STORE_UNAVAILABLE: .* broke the connection/);
    expect(database.createdCount()).toBe(1);
    expect(vault.count('GET /v1/database')).toBe(1);
  });

  test('differs from a read, which is repeated at once', async () => {
    const { vault, callOutcome } = await setUp({ nodes: 2 });
    vault.node.dropResponses(1);
    expect(await callOutcome()).toBe(1);
  });

  test('is repeated where it certainly reached no node', async () => {
    const { vault, database, callOutcome, issue } = await setUp({ nodes: 2 });
    await vault.node.close();
    expect(await callOutcome(issue)).toBe(1);
    vault.nodes[1]?.injectFault({ response: indexNotPresent, times: 2 });
    expect(await callOutcome(issue)).toBe(1);
    expect(database.createdCount()).toBe(2);
  });
});

describe('a transient error', () => {
  test('is retried for 412', async () => {
    const { vault, callOutcome } = await setUp();
    vault.node.injectFault({ response: indexNotPresent, times: 2 });
    expect(await callOutcome()).toBe(0);
    vault.node.injectFault({ response: indexNotPresent });
    expect(await callOutcome()).toMatch(
      /^STORE_UNAVAILABLE: .* has not caught up .*secret\/data\/app/,
    );
  });

  test('is retried for 429, but not before the time in Retry-After', async () => {
    const { vault, callOutcome } = await setUp();
    vault.node.injectFault({ response: rateLimited('secret/data/app'), times: 2 });
    expect(await callOutcome()).toBe(0);
    vault.node.injectFault({ response: rateLimited('secret/data/app', 6) });
    expect(await callOutcome()).toMatch(
      /^STORE_THROTTLED: .*"request path .* rate limit quota exceeded"/,
    );
    expect(vault.count('GET /v1/secret')).toBe(4);
  });

  test('of a proxy is retried by the cooldown of the node, whatever its Retry-After', async () => {
    const { vault, callOutcome } = await setUp();
    const response = { status: 503, headers: { 'retry-after': '60' }, body: 'down' };
    vault.node.injectFault({ route: 'GET /v1/secret', response, times: 1 });
    expect(await callOutcome()).toBe(0);
    expect(vault.count('GET /v1/secret')).toBe(2);
  });

  test('has a message without the token that its text may repeat', async () => {
    const { vault, token, callOutcome } = await setUp();
    vault.node.injectFault({
      response: { status: 500, body: { errors: [`token ${token.reveal()} met trouble`] } },
    });
    expect(await callOutcome()).toMatch(/^STORE_UNAVAILABLE: .*withheld/);
  });
});
