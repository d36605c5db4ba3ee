import { afterEach, describe, expect, test } from '@jest/globals';
import { startFakeServer, type FakeResponse } from './fakes/http-server.ts';
import type { HandedOverLease } from '../src/core/handed-over-lease.ts';
import type { Presence } from '../src/concurrency/workload-memory.ts';
import { vaultResponse } from './fakes/vault-responses.ts';
import { startVaultReader, type VaultReader } from './fakes/vault-reader.ts';

const minutes = (count: number): number => count * 60_000;
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function setUp(options?: Parameters<typeof startVaultReader>[0]): Promise<VaultReader> {
  const reader = await startVaultReader(options);
  cleanups.push(reader.close);
  return reader;
}

const databasePath = 'database/creds/app';
const issue = (name: string) => ({
  name: 'pki/issue/web',
  method: 'POST' as const,
  body: JSON.stringify({ common_name: name }),
});
const pods = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `pod-${index}`);

describe('a leased path', () => {
  test('gives 50 pods that mount it at once 50 leases and 50 users, and each pod always its own', async () => {
    const { readText, database, leases } = await setUp();
    const first = await Promise.all(pods(50).map((pod) => readText(databasePath, { pod })));
    expect(new Set(first).size).toBe(50);
    expect(database.users()).toHaveLength(50);
    expect(leases('live')).toBe(50);
    expect(await Promise.all(pods(50).map((pod) => readText(databasePath, { pod })))).toEqual(
      first,
    );
    expect(database.createdCount()).toBe(50);
  });

  test('is read once for a pod, at once and at every republish, until its lease cannot be extended', async () => {
    const { readText, advanceClock, database, vault } = await setUp({
      lifetime: { ttlMs: minutes(600) },
    });
    database.role('app', { ttlMs: minutes(60), maxTtlMs: minutes(150) });
    const [first, ...others] = await Promise.all([1, 2, 3].map(() => readText(databasePath)));
    expect(others).toEqual([first, first]);
    for (let minute = 1; minute < 120; minute += 1) {
      await advanceClock(minutes(1));
      expect(await readText(databasePath)).toBe(first);
    }
    expect(database.createdCount()).toBe(1);
    expect(vault.leases.all()[0]?.renewals).toBe(2);
    // The max TTL shortens the third renewal: now it is read again, while the first user is still
    // valid.
    await advanceClock(minutes(1));
    expect(await readText(databasePath)).not.toBe(first);
    expect(database.users()).toHaveLength(2);
  });

  test('is one read for the whole file and its keys, across a rotation too, so that users never mix', async () => {
    const { value, advanceClock, database, vault } = await setUp({
      lifetime: { ttlMs: minutes(600) },
    });
    database.role('app', { ttlMs: minutes(3), maxTtlMs: minutes(3) });
    for (let minute = 0; minute < 30; minute += 1) {
      const { bytes, document } = await value(databasePath);
      const envelope = JSON.parse(Buffer.from(bytes).toString()) as { data: unknown };
      expect(envelope.data).toEqual(JSON.parse(document ?? ''));
      expect(database.users()).toContain((envelope.data as { username: string }).username);
      await advanceClock(minutes(1));
    }
    expect(database.createdCount()).toBeGreaterThan(9);
    expect(database.createdCount()).toBeLessThan(16);
    expect(vault.leases.all()).toHaveLength(database.createdCount());
  });

  test('serves all pods of an account where the class sets it so', async () => {
    const { readText, database } = await setUp();
    const results = await Promise.all(
      pods(20).map((pod) => readText(databasePath, { pod, scope: 'principal' })),
    );
    expect(new Set(results).size).toBe(1);
    expect(database.createdCount()).toBe(1);
    expect(await readText(databasePath, { scope: 'principal', account: 'other' })).not.toBe(
      results[0],
    );
  });

  test('is released where a pod did not wait for it', async () => {
    const { read, readText, vault, until, leases, kv2 } = await setUp();
    kv2.put('app', {});
    await readText('secret/data/app');
    vault.node.injectFault({ route: 'GET /v1/database', delayMs: 20 });
    const abortController = new AbortController();
    const abortedRead = read(databasePath, {}, abortController.signal).catch(() => 'left');
    await until('the read arrives', () => vault.count('GET /v1/database') === 1);
    abortController.abort(new Error('left'));
    expect(await abortedRead).toBe('left');
    await until('it is given back', () => leases('revoked') === 1);
    expect(leases('live')).toBe(0);
  });

  test('ends with its pod, where pods are watched', async () => {
    const deletedPods = new Set<string>();
    const presence = (pod: string) => (deletedPods.has(pod) ? 'gone' : 'here');
    const { readText, advanceClock, leases, database } = await setUp({ presence });
    await Promise.all(['a', 'b'].map((pod) => readText(databasePath, { pod })));
    deletedPods.add('a');
    await advanceClock(1_000);
    expect(leases('revoked')).toBe(1);
    expect(database.users()).toHaveLength(1);
  });

  test('that is due is extended and not read again, also by the request that finds it due', async () => {
    const { readText, vault, database } = await setUp({ lifetime: { ttlMs: minutes(600) } });
    const first = await readText(databasePath);
    vault.advanceClock(minutes(45));
    expect(await readText(databasePath)).toBe(first);
    vault.advanceClock(minutes(30));
    expect(await readText(databasePath)).toBe(first);
    expect(database.createdCount()).toBe(1);
  });

  test('whose token has ended is read again with another token', async () => {
    const { readText, advanceClock, vault, database, until } = await setUp({
      lifetime: { ttlMs: minutes(600) },
    });
    database.role('app', { ttlMs: minutes(9) });
    const first = await readText(databasePath);
    vault.tokens.revoke(vault.tokens.all()[0]!);
    expect(database.users()).toEqual([]);
    await advanceClock(minutes(5));
    // Keyferry does not know it yet; the renewal finds it.
    expect(await readText(databasePath)).toBe(first);
    await advanceClock(minutes(1));
    expect(vault.count(/leases.renew/)).toBe(1);
    const second = await readText(databasePath);
    expect(second).not.toBe(first);
    await until('it is a user', () => database.users().length === 1);
  });

  test('stays for a pod in an outage, to the end of the lease and not beyond', async () => {
    const { readText, advanceClock, vault, database } = await setUp();
    database.role('app', { ttlMs: minutes(9) });
    const first = await readText(databasePath);
    vault.node.state = 'sealed';
    await advanceClock(minutes(8));
    expect(await readText(databasePath)).toBe(first);
    await advanceClock(minutes(2));
    expect(await readText(databasePath)).toBe('failed STORE_UNAVAILABLE');
  });
});

test('an Agent with a cache gives no pod the lease of another one', async () => {
  const responses = new Map<string, FakeResponse>();
  // Vault Agent treats requests with equal headers as the same, and caches responses with a lease
  // or a token.
  const agent = await startFakeServer({
    handler(request) {
      const { method, path, query, headers, body } = request;
      const key = JSON.stringify([method, path, query, headers, body.toString()]);
      const response = responses.get(key) ?? vault.serve(request);
      responses.set(key, response);
      return response;
    },
  });
  cleanups.push(agent.close);
  const { vault, readText, leases } = await setUp({ login: { addresses: [agent.url.origin] } });
  const results = await Promise.all(pods(5).map((pod) => readText(databasePath, { pod })));
  expect(new Set(results).size).toBe(5);
  expect(leases('live')).toBe(5);
});

describe('after a restart', () => {
  test('gives a pod a user of its own at its next republish, and the old one is still valid then', async () => {
    const before = await setUp();
    const first = await before.readText(databasePath);
    expect(before.database.users()).toHaveLength(1);
    // The end of the process: no token that leases depend on is revoked.
    await before.tokens.close(AbortSignal.timeout(1_000));
    const after = before.restart();
    before.vault.advanceClock(minutes(19));
    const second = await after.readText(databasePath);
    expect(second).not.toBe(first);
    expect(before.database.users()).toHaveLength(2);
    before.vault.advanceClock(minutes(42));
    expect(before.leases('expired')).toBe(1);
    expect(await after.readText(databasePath)).toBe(second);
    expect(before.database.createdCount()).toBe(2);
  });

  /** A process that has handed over its lease, and the next one. */
  async function handOver(presence?: Presence) {
    const before = await setUp({
      lifetime: { ttlMs: minutes(30), maxTtlMs: minutes(10_000) },
      ...(presence && { presence }),
    });
    before.database.role('app', { ttlMs: minutes(60), maxTtlMs: minutes(10_000) });
    const first = await before.readText(databasePath);
    const handedOver = JSON.parse(
      JSON.stringify(before.cache.handOver()),
    ) as readonly HandedOverLease[];
    await before.tokens.close(AbortSignal.timeout(1_000));
    const after = before.restart();
    const [lease] = handedOver;
    const takeOver = (): boolean =>
      after.cache.takeOver(after.provider, after.grantOf(databasePath), lease!);
    const pass = async (count: number): Promise<void> => {
      for (let minute = 0; minute < count; minute++) {
        before.vault.advanceClock(minutes(1));
        after.tokens.tick();
        after.cache.tick();
        await before.idle();
      }
    };
    return { before, after, first, handedOver, takeOver, pass };
  }

  test('keeps the lease that was handed over: it renews the token that read it, and uses it for nothing else', async () => {
    const { before, after, first, handedOver, takeOver, pass } = await handOver(() => 'here');
    expect(handedOver).toHaveLength(1);
    expect(takeOver()).toBe(true);
    await pass(300);
    expect(await after.readText(databasePath)).toBe(first);
    expect(before.database.createdCount()).toBe(1);
    const [token] = before.vault.tokens.all();
    expect(token).toMatchObject({ state: 'good' });
    expect(token?.renewals).toBeGreaterThan(5);
    expect(before.leases('live')).toBe(1);
    // Another secret needs a login.
    await after.readText('secret/data/app');
    expect(before.vault.tokens.all()).toHaveLength(2);
    await after.tokens.close(AbortSignal.timeout(1_000));
    expect(before.vault.tokens.all().map(({ state }) => state)).toEqual(['good', 'revoked']);
  });

  test('releases the lease that was handed over with its own token, and then that token', async () => {
    let presence: 'here' | 'gone' = 'here';
    const { before, takeOver, pass } = await handOver(() => presence);
    takeOver();
    presence = 'gone';
    await pass(1);
    expect(before.leases('live')).toBe(0);
    expect(before.database.users()).toEqual([]);
    await pass(3);
    expect(before.vault.tokens.all()).toMatchObject([{ state: 'revoked' }]);
  });

  test('reads again what ended while no process ran', async () => {
    const { before, after, first, takeOver } = await handOver();
    before.vault.advanceClock(minutes(31));
    expect(takeOver()).toBe(false);
    expect(await after.readText(databasePath)).not.toBe(first);
  });
});

describe('a token made for a pod', () => {
  const create = { name: 'auth/token/create', method: 'POST' as const, body: '{}' };

  async function runTokenScenario(orphan: boolean) {
    const reader = await setUp({ lifetime: { ttlMs: minutes(60), maxTtlMs: minutes(10_000) } });
    reader.vault.policy('app', { 'auth/token/create': ['update'] });
    const auth = { client_token: 'hvs.child', accessor: 'it', orphan, lease_duration: 86_400 };
    reader.vault.backend('auth/token', () => vaultResponse('null', {}, { auth }));
    const first = await reader.value(create);
    expect(JSON.parse(Buffer.from(first.bytes).toString())).toMatchObject({ lease_id: '', auth });
    for (let part = 0; part < 60; part += 1) {
      await reader.advanceClock(minutes(3));
      expect((await reader.value(create)).bytes).toEqual(first.bytes);
    }
    await reader.tokens.close(AbortSignal.timeout(1_000));
    reader.vault.tokens.sweep();
    return {
      created: reader.vault.count('POST /v1/auth/token/create'),
      parent: reader.vault.tokens.all()[0]!.state,
    };
  }

  test("is a child of Keyferry's token, which lives as long, and is not revoked at the end", async () => {
    expect(await runTokenScenario(false)).toEqual({ created: 1, parent: 'good' });
  });

  test('needs no token of Keyferry where it is an orphan', async () => {
    expect(await runTokenScenario(true)).toMatchObject({ created: 1, parent: 'expired' });
  });
});

describe('a secret without a lease', () => {
  test('is shared by all pods of an account after a response of KV', async () => {
    const { readText, kv1, kv2, vault } = await setUp();
    kv2.put('app', { a: '1' });
    kv1.put('app', { a: '1', ttl: '30s' });
    for (const path of ['secret/data/app', 'kv/app']) {
      await readText(path, { pod: 'first' });
      const results = await Promise.all(pods(50).map((pod) => readText(path, { pod })));
      expect(new Set(results).size).toBe(1);
      expect(vault.count(`GET /v1/${path}`)).toBe(1);
      await readText(path, { pod: 'other', account: 'other' });
      expect(vault.count(`GET /v1/${path}`)).toBe(2);
    }
  });

  test('keeps its file and version while it does not change', async () => {
    const { value, advanceClock, kv2, kv1, vault } = await setUp();
    kv2.put('app', '{"n":1.50}');
    kv1.put('app', { a: '1', ttl: '1h' });
    for (const path of ['secret/data/app', 'kv/app']) {
      const first = await value(path);
      await advanceClock(minutes(1));
      const later = await value(path);
      expect([path, vault.count(`GET /v1/${path}`)]).toEqual([path, 2]);
      expect(Buffer.from(later.bytes).toString()).toBe(Buffer.from(first.bytes).toString());
      expect([later.version, later.modified]).toEqual([first.version, first.modified]);
    }
    kv2.put('app', { n: '2' });
    await advanceClock(minutes(1));
    expect((await value('secret/data/app')).version).toBe('2');
  });

  test('is two certificates for two bodies and one for one: certificate and key stay together', async () => {
    const { value, advanceClock, pki } = await setUp();
    pki.role('web', { ttlMs: minutes(60) });
    const certificates = async () =>
      Promise.all(
        [issue('a.example'), issue('b.example'), issue('a.example')].map(async (ref) => {
          const { document } = await value(ref);
          const { certificate, private_key: key } = JSON.parse(document ?? '') as Record<
            string,
            string
          >;
          return `${certificate} ${key}`;
        }),
      );
    const [a, b, same] = await certificates();
    expect(a).not.toBe(b);
    expect(same).toBe(a);
    expect(pki.issuedCount()).toBe(2);
    // It is used again for two thirds of its life, then issued again while it is still valid.
    await advanceClock(minutes(39));
    expect(await certificates()).toEqual([a, b, a]);
    await advanceClock(minutes(2));
    const renewed = await certificates();
    expect(renewed[0]).not.toBe(a);
    expect(renewed[2]).toBe(renewed[0]);
    expect(pki.issuedCount()).toBe(4);
  });

  test('belongs to one pod for a certificate', async () => {
    const { value } = await setUp();
    const documents = await Promise.all(
      pods(5).map(async (pod) => (await value(issue('a.example'), { pod })).document),
    );
    expect(new Set(documents).size).toBe(5);
  });

  test('is gone at once when it was deleted, and never served where it is denied', async () => {
    const { readText, advanceClock, kv2, vault } = await setUp();
    kv2.put('app', { a: '1' });
    await readText('secret/data/app', { pod: 'a' });
    kv2.delete('app');
    await advanceClock(minutes(1));
    expect(await readText('secret/data/app', { pod: 'a' })).toBe('absent OBJECT_DISABLED');
    kv2.put('app', { a: '2' });
    await readText('secret/data/app', { pod: 'a' });
    vault.policy('app', {});
    await advanceClock(minutes(1));
    for (const pod of ['a', 'b'])
      expect(await readText('secret/data/app', { pod })).toBe('failed ACCESS_DENIED');
  });
});
