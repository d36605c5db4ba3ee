import { afterEach, describe, expect, test } from '@jest/globals';
import {
  startFakeKubernetes,
  type FakeKubernetes,
  type FakeServiceAccount,
} from '../../test/fakes/kubernetes.ts';
import { SecretError } from '../core/errors.ts';
import { createHttpClient } from '../http/client.ts';
import { createKubeApi } from './api.ts';
import { ServiceAccounts, type ServiceAccount } from './service-accounts.ts';

const neverAborted = new AbortController().signal;
const cancelled = new SecretError('CANCELLED', 'cancelled');
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of cleanups.splice(0).reverse()) await close();
});

async function accountsOf(
  accounts: Record<string, FakeServiceAccount> = { 'shop/app': { annotations: { a: '1' } } },
) {
  const kubernetes = await startFakeKubernetes(accounts);
  const http = createHttpClient();
  cleanups.push(kubernetes.close, () => http.close());
  const clock = { now: 1_000_000 };
  const { server, tokenFile, caFile } = kubernetes;
  const serviceAccounts = new ServiceAccounts({
    api: createKubeApi({ http, server, tokenFile, caFile }),
    now: () => clock.now,
  });
  /** Reads the account as of now, by default. */
  const get = (
    question: Partial<Parameters<typeof serviceAccounts.get>[0]> = {},
  ): Promise<ServiceAccount> =>
    serviceAccounts.get({
      namespace: 'shop',
      name: 'app',
      notBefore: clock.now,
      signal: neverAborted,
      ...question,
    });
  const annotate = (value: string): void => {
    kubernetes.serviceAccounts.set('shop/app', { annotations: { a: value } });
  };
  return { kubernetes, clock, get, annotate };
}

async function untilReads(kubernetes: FakeKubernetes, count: number): Promise<void> {
  while (kubernetes.reads() < count) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe('service accounts', () => {
  test('are read again when the clock was set back: the age of a future read is unknown', async () => {
    const { get, annotate, clock } = await accountsOf();
    await get();
    annotate('2');
    clock.now -= 3_600_000;
    expect((await get()).annotations.get('a')).toBe('2');
    annotate('3');
    expect((await get({ notBefore: clock.now })).annotations.get('a')).toBe('2');
  });

  test('are read', async () => {
    const { get } = await accountsOf({
      'shop/app': { uid: 'u1', annotations: { a: '1', __proto__x: '2' } },
      'shop/bare': {},
    });
    expect(await get()).toEqual({
      uid: 'u1',
      annotations: new Map([
        ['a', '1'],
        ['__proto__x', '2'],
      ]),
    });
    expect((await get({ name: 'bare' })).annotations.size).toBe(0);
  });

  test('are served from the cache if they were read at or after notBefore', async () => {
    const { get, annotate, clock, kubernetes } = await accountsOf();
    const first = clock.now;
    await get();
    annotate('2');
    clock.now += 30_000;
    expect((await get({ notBefore: first })).annotations.get('a')).toBe('1');
    expect(kubernetes.reads()).toBe(1);
    expect((await get({ notBefore: first + 1 })).annotations.get('a')).toBe('2');
    expect(kubernetes.reads()).toBe(2);
  });

  test('are not served from the cache after a minute, whatever notBefore is', async () => {
    const { get, clock, kubernetes } = await accountsOf();
    await get();
    clock.now += 60_000;
    await get({ notBefore: 0 });
    expect(kubernetes.reads()).toBe(1);
    clock.now += 1;
    await get({ notBefore: 0 });
    expect(kubernetes.reads()).toBe(2);
  });

  test('share a read only among requests from before it started: a later request never gets a removed name', async () => {
    const { get, annotate, clock, kubernetes } = await accountsOf();
    kubernetes.injectFault({
      response: { body: { metadata: { uid: 'u', annotations: { a: 'old' } } } },
      delayMs: 30,
      times: 1,
    });
    const early = get();
    await untilReads(kubernetes, 1);
    annotate('removed');
    clock.now += 1;
    const late = [get(), get(), get()];
    expect((await early).annotations.get('a')).toBe('old');
    for (const account of await Promise.all(late))
      expect(account.annotations.get('a')).toBe('removed');
    expect(kubernetes.reads()).toBe(2);
  });

  test('cost two reads for 200 concurrent pods', async () => {
    const { get, clock, kubernetes } = await accountsOf();
    kubernetes.injectFault({ delayMs: 30 });
    const pods: Promise<ServiceAccount>[] = [];
    for (let pod = 0; pod < 200; pod += 1) {
      pods.push(get());
      clock.now += 1;
      if (pod % 40 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await Promise.all(pods);
    expect(kubernetes.reads()).toBeLessThanOrEqual(2);
  });

  test('cache no failure', async () => {
    const { get, annotate, kubernetes } = await accountsOf({});
    expect(await get().catch((error: unknown) => error)).toMatchObject({
      code: 'NOT_GRANTED',
      message: 'ServiceAccount shop/app does not exist',
    });
    annotate('1');
    expect((await get()).annotations.get('a')).toBe('1');
    kubernetes.deny(true);
    expect(await get({ notBefore: 2e6 }).catch((error: unknown) => error)).toMatchObject({
      code: 'ADMISSION_UNAVAILABLE',
      message: expect.stringMatching(
        /^Keyferry may not read ServiceAccount shop\/app: .* is forbidden/,
      ),
      hint: expect.stringContaining('the verb get for serviceaccounts'),
    });
    kubernetes.deny(false);
    expect((await get({ notBefore: 2e6 })).annotations.get('a')).toBe('1');
  });

  test('are removed from the cache when the account is gone, and kept in an outage', async () => {
    const { get, clock, kubernetes } = await accountsOf();
    const first = clock.now;
    await get();
    clock.now += 1;
    kubernetes.injectFault({ response: { status: 500 } });
    await expect(get()).rejects.toMatchObject({ code: 'ADMISSION_UNAVAILABLE' });
    await expect(get({ notBefore: first })).resolves.toBeDefined();
    kubernetes.injectFault();
    kubernetes.serviceAccounts.clear();
    await expect(get()).rejects.toMatchObject({ code: 'NOT_GRANTED' });
    await expect(get({ notBefore: first })).rejects.toMatchObject({ code: 'NOT_GRANTED' });
  });

  test.each([
    ['no object', null],
    ['no uid', { metadata: { annotations: { a: '1' } } }],
    ['annotations that are not strings', { metadata: { uid: 'u', annotations: { a: ['db'] } } }],
  ])('a response with %s is ADMISSION_UNAVAILABLE', async (_, body) => {
    const { get, kubernetes } = await accountsOf();
    kubernetes.injectFault({ response: { body: JSON.stringify(body) } });
    await expect(get()).rejects.toMatchObject({ code: 'ADMISSION_UNAVAILABLE' });
  });

  test('a caller that cancels does not affect the others', async () => {
    const { get, clock, kubernetes } = await accountsOf();
    kubernetes.injectFault({ delayMs: 20 });
    const leaver = new AbortController();
    const gone = get({ signal: leaver.signal }).catch((error: unknown) => error);
    const stays = get();
    await untilReads(kubernetes, 1);
    clock.now += 1;
    const waits = get();
    leaver.abort(cancelled);
    expect(await gone).toBe(cancelled);
    await Promise.all([stays, waits]);
    expect(kubernetes.reads()).toBe(2);
  });

  test('a read that all callers have cancelled is aborted, and delays no other', async () => {
    const { get, clock, kubernetes } = await accountsOf();
    kubernetes.injectFault({ hang: true, times: 1 });
    const leaver = new AbortController();
    const gone = get({ signal: leaver.signal }).catch((error: unknown) => error);
    await untilReads(kubernetes, 1);
    clock.now += 1;
    const waits = get();
    leaver.abort(cancelled);
    expect(await gone).toBe(cancelled);
    expect((await waits).annotations.get('a')).toBe('1');
    expect((await get()).annotations.get('a')).toBe('1');
    expect(kubernetes.reads()).toBe(2);
  });

  test('names are not mixed up', async () => {
    const { get, kubernetes } = await accountsOf({ 'a/b/c': {} });
    await get({ namespace: 'a', name: 'b/c' });
    await get({ namespace: 'a/b', name: 'c' });
    expect(kubernetes.requests).toHaveLength(2);
  });

  test('accounts do not wait for each other', async () => {
    const { get, kubernetes } = await accountsOf({
      'shop/app': { uid: '1' },
      'shop/other': { uid: '2' },
    });
    kubernetes.injectFault({ route: /app$/, hang: true });
    const leaver = new AbortController();
    const hung = get({ signal: leaver.signal }).catch((error: unknown) => error);
    expect((await get({ name: 'other' })).uid).toBe('2');
    leaver.abort(cancelled);
    expect(await hung).toBe(cancelled);
  });
});
