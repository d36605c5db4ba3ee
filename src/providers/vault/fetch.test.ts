import { afterEach, describe, expect, test } from '@jest/globals';
import { startVaultFixture } from '../../../test/fakes/vault-fixture.ts';
import { type VaultReader, startVaultReader } from '../../../test/fakes/vault-reader.ts';
import { SecretError } from '../../core/errors.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { FetchRequest, FetchResult } from '../../core/provider.ts';
import { eventually } from '../../../test/fakes/timers.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of cleanups.splice(0).reverse()) await close();
});

async function setUp(options?: Parameters<typeof startVaultReader>[0]): Promise<VaultReader> {
  const reader = await startVaultReader(options);
  cleanups.push(reader.close);
  reader.kv2.put('app', { password: 'canary' });
  return reader;
}

/** Reads once, without the cache. */
function fetchOne(
  reader: VaultReader,
  ref: string | Partial<SecretRef>,
  overrides: Partial<FetchRequest> = {},
): Promise<FetchResult> {
  const signal = new AbortController().signal;
  const common = { urgency: 'first', signal, onStart: () => undefined } as const;
  return reader.provider.fetch([
    { grant: reader.grantOf(ref), ...common, ...overrides } as never,
  ])[0]!;
}

const codeOf = (result: FetchResult): string =>
  'error' in result ? `${result.kind} ${result.error.code}` : result.kind;
const textOf = (result: FetchResult): string =>
  result.kind === 'value' ? Buffer.from(result.value.bytes).toString() : codeOf(result);

describe('a read', () => {
  test('sends method, path with its query, and body as the class has them', async () => {
    const reader = await setUp();
    await fetchOne(reader, 'secret/data/app?version=1');
    await fetchOne(reader, {
      name: 'pki/issue/web',
      method: 'PUT',
      body: '{"common_name":"a.example","big":12345678901234567890}',
    });
    const [read, issue] = reader.vault.node.requests.slice(-2);
    expect(read).toMatchObject({ method: 'GET', path: '/v1/secret/data/app', query: 'version=1' });
    expect(read?.body.length).toBe(0);
    expect(issue).toMatchObject({ method: 'PUT', path: '/v1/pki/issue/web' });
    expect(issue?.body.toString()).toBe('{"common_name":"a.example","big":12345678901234567890}');
  });

  test('does not wait for other reads: ten slow ones take the time of one', async () => {
    const reader = await setUp();
    await fetchOne(reader, 'secret/data/app');
    // No response leaves before all requests have arrived.
    let release = (): void => undefined;
    const until = new Promise<void>((resolve) => (release = resolve));
    reader.vault.node.injectFault({ route: 'GET', until });
    const before = reader.vault.node.count('GET');
    const names = Array.from({ length: 10 }, (_, index) => `secret/data/app?version=1&n=${index}`);
    const reads = Promise.all(names.map((name) => fetchOne(reader, name)));
    await eventually(() => reader.vault.node.count('GET') - before === 10);
    release();
    expect((await reads).map(codeOf)).toEqual(names.map(() => 'value'));
  });

  test('starts its timeout when the rate limiter lets it go', async () => {
    const reader = await setUp();
    let started = 0;
    await fetchOne(reader, 'secret/data/app', { onStart: () => (started += 1) });
    expect(started).toBe(1);
  });

  test('waits for the rate limiter before each attempt', async () => {
    const reader = await setUp();
    await fetchOne(reader, 'secret/data/app');
    reader.vault.node.dropResponses(1);
    let started = 0;
    const onStart = () => (started += 1);
    expect(codeOf(await fetchOne(reader, 'secret/data/app', { onStart }))).toBe('value');
    expect(started).toBe(2);
  });

  test('fails with the text of Vault and the path, and never a token', async () => {
    const reader = await setUp();
    reader.vault.policy('app', {});
    const result = await fetchOne(reader, 'secret/data/app');
    expect(codeOf(result)).toBe('failed ACCESS_DENIED');
    const { summary } = (result as { error: SecretError }).error;
    expect(summary).toContain('secret/data/app');
    for (const { id } of reader.vault.tokens.all()) expect(summary).not.toContain(id);
  });

  test('is repeated after a lost response only where it certainly issues nothing', async () => {
    const reader = await setUp();
    await fetchOne(reader, 'secret/data/app');
    reader.vault.node.dropResponses(1);
    expect(codeOf(await fetchOne(reader, 'database/creds/app'))).toMatch(/^failed STORE_/);
    expect(reader.database.createdCount()).toBe(1);
    reader.vault.node.dropResponses(1);
    expect(codeOf(await fetchOne(reader, 'secret/data/app'))).toBe('value');
    reader.vault.node.dropResponses(1);
    expect(codeOf(await fetchOne(reader, 'secret/data/app?version=1'))).toMatch(/^failed STORE_/);
  });
});

describe('a token that is refused', () => {
  test('causes one new login and one new read', async () => {
    const reader = await setUp();
    await fetchOne(reader, 'secret/data/app');
    reader.vault.advanceClock(60_000);
    for (const token of reader.vault.tokens.all()) reader.vault.tokens.revoke(token);
    expect(codeOf(await fetchOne(reader, 'secret/data/app'))).toBe('value');
    expect(reader.vault.count('POST /v1/auth/kubernetes/login')).toBe(2);
  });

  test('causes a new login also where a policy was changed since', async () => {
    const reader = await setUp({ lifetime: { policies: ['nothing'] } });
    expect(codeOf(await fetchOne(reader, 'secret/data/app'))).toBe('failed ACCESS_DENIED');
    reader.vault.auth
      .kubernetes()
      .role('app', { names: ['app'], namespaces: ['team-a'], policies: ['app'] });
    expect(codeOf(await fetchOne(reader, 'secret/data/app'))).toBe('failed ACCESS_DENIED');
    reader.vault.advanceClock(60_000);
    expect(codeOf(await fetchOne(reader, 'secret/data/app'))).toBe('value');
  });

  test('causes no new login where it is less than a minute old', async () => {
    const reader = await setUp();
    reader.vault.policy('app', {});
    await fetchOne(reader, 'secret/data/app');
    expect(reader.vault.count('POST /v1/auth/kubernetes/login')).toBe(1);
    expect(reader.vault.count('GET /v1/secret/data/app')).toBe(1);
  });

  test('does not exist where the secret is missing', async () => {
    const reader = await setUp();
    reader.vault.advanceClock(60_000);
    expect(codeOf(await fetchOne(reader, 'secret/data/none'))).toBe('absent OBJECT_NOT_FOUND');
    expect(reader.vault.count('POST /v1/auth/kubernetes/login')).toBe(1);
  });
});

describe('a caller that leaves', () => {
  const cancelled = new SecretError('CANCELLED', 'left');

  test('does not stop a read that may lease, so that its lease is known', async () => {
    const reader = await setUp();
    await fetchOne(reader, 'secret/data/app');
    reader.vault.node.injectFault({ route: 'GET /v1/database', delayMs: 20 });
    const abortController = new AbortController();
    const pendingRead = fetchOne(reader, 'database/creds/app', { signal: abortController.signal });
    await reader.until('the read arrives', () => reader.vault.count('GET /v1/database') === 1);
    abortController.abort(cancelled);
    const result = await pendingRead;
    expect(textOf(result)).toContain(reader.database.users()[0]);
  });

  test('stops the retries of a read that may lease, because no attempt has issued a lease', async () => {
    const reader = await setUp();
    await fetchOne(reader, 'secret/data/app');
    reader.vault.node.state = 'sealed';
    const abortController = new AbortController();
    const { signal } = abortController;
    const pendingRead = fetchOne(reader, 'database/creds/app', { signal });
    await reader.until('the read arrives', () => reader.vault.count('GET /v1/database') === 1);
    abortController.abort(cancelled);
    reader.vault.node.state = 'active';
    expect(codeOf(await pendingRead)).toBe('failed CANCELLED');
    expect(reader.database.createdCount()).toBe(0);
  });

  test('stops a read that has not begun, and one that issues nothing', async () => {
    const reader = await setUp();
    const abortController = new AbortController();
    abortController.abort(cancelled);
    const cancelledResult = await fetchOne(reader, 'database/creds/app', {
      signal: abortController.signal,
    });
    expect(codeOf(cancelledResult)).toBe('failed CANCELLED');
    expect(reader.database.createdCount()).toBe(0);
    await fetchOne(reader, 'secret/data/app');
    reader.vault.node.injectFault({ route: 'GET /v1/secret', hang: true });
    const secondController = new AbortController();
    const pendingRead = fetchOne(reader, 'secret/data/app', { signal: secondController.signal });
    await reader.until(
      'the read arrives',
      () => reader.vault.count('GET /v1/secret/data/app') === 2,
    );
    secondController.abort(cancelled);
    expect(codeOf(await pendingRead)).toBe('failed CANCELLED');
  });
});

test.each(['vault', 'openbao'] as const)('the rate limiter of %s has its name', async (dialect) => {
  const fixture = await startVaultFixture({ dialect });
  cleanups.push(fixture.close);
  fixture.policy('app', { 'secret/data/*': ['read'] });
  const role = { names: ['app'], namespaces: ['team-a'], audience: dialect };
  fixture.auth.kubernetes().role('app', role);
  fixture.kv2().put('db', { password: 'first' });
  await fixture.mount('- {objectName: a, secretPath: secret/data/db, secretKey: password}');
  expect(await fixture.metrics()).toContain(
    `keyferry_budget_wait_seconds_count{budget="${dialect}",urgency="first"} 1`,
  );
});
