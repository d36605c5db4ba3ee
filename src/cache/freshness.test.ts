import { describe, expect, jest, test } from '@jest/globals';
import {
  absent,
  failed,
  grantOf,
  leased,
  unchanged,
  value,
} from '../../test/fakes/scripted-provider.ts';
import {
  advanceTimers,
  createCacheFixture,
  hour,
  minute,
  useFakeClock,
  second,
} from '../../test/fakes/cache-fixture.ts';
import { computeFreshUntil } from './freshness.ts';

useFakeClock();

const grant = grantOf({});
const newPod = grantOf({ pod: 'new' });

/** Responds with the number of the request. */
const numberedResponses = (fields: Parameters<typeof value>[1] = {}) => {
  let requestCount = 0;
  return () => value(`${(requestCount += 1)}`, fields);
};

describe("the store's authorization", () => {
  test.each([
    ['moving', {}, 15 * minute],
    ['pinned', { immutable: true }, undefined],
  ])(
    'lets a %s value serve a new pod up to 15 min after its delivery',
    async (_, fields, refreshIntervalMs) => {
      const { provider, readText, advanceClock } = createCacheFixture({
        refreshIntervalMs: refreshIntervalMs ?? 30 * second,
      });
      provider.script('db', numberedResponses(fields));
      expect(await readText(grant)).toBe('1');
      await advanceClock(15 * minute - second);
      expect(await readText(newPod)).toBe('1');
    },
  );

  test('makes a new pod read a pinned value again after 15 min, which then serves the next one', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', numberedResponses({ immutable: true }));
    await readText(grant);
    await advanceClock(15 * minute + second);
    expect(await readText(grant)).toBe('1');
    expect(await readText(newPod)).toBe('2');
    expect(provider.calls[1]!.known).toBeUndefined();
    await advanceClock(14 * minute);
    expect(await readText(grantOf({ pod: 'newer' }))).toBe('2');
  });

  test('treats a pod as new for another principal and for another ref', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', numberedResponses({ immutable: true }));
    provider.script('other', numberedResponses({ immutable: true }));
    await readText(grantOf({ pod: 'a' }));
    await readText(grantOf({ pod: 'b', principal: 'other' }));
    await readText(grantOf({ pod: 'b', ref: 'other' }));
    await advanceClock(16 * minute);
    await readText(grantOf({ pod: 'a', principal: 'other' }));
    await readText(grantOf({ pod: 'a', ref: 'other' }));
    expect(provider.calls).toHaveLength(5);
  });

  test('treats a pod as new until its volume was filled', async () => {
    const { cache, provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', numberedResponses({ immutable: true }));
    provider.script('denied', failed('ACCESS_DENIED'));
    await readText(grant);
    await cache.read(provider, [newPod, grantOf({ pod: 'new', ref: 'denied' })], {
      signal: new AbortController().signal,
      deadline: Date.now() + minute,
    });
    expect(cache.hasDelivered(newPod)).toBe(false);
    await advanceClock(16 * minute);
    expect(await readText(newPod)).toBe('2');
  });
});

test('after the clock was set back, a value delivered in the future is read again', async () => {
  const { provider, readText } = createCacheFixture();
  provider.script('db', numberedResponses());
  provider.script('none', absent());
  await readText(grant);
  await readText(grantOf({ ref: 'none' }));
  jest.setSystemTime(Date.now() - hour);
  expect(await readText(newPod)).toBe('2');
  expect(await readText(newPod)).toBe('2');
  await readText(grantOf({ ref: 'none' }));
  expect(provider.calls.map(({ name }) => name)).toEqual(['db', 'none', 'db', 'none']);
});

test('after the clock was set back, a running pod gets its version confirmed, not a new lease', async () => {
  const { provider, readText } = createCacheFixture();
  provider.script('db', value('one'), unchanged());
  await readText(grant);
  jest.setSystemTime(Date.now() - hour);
  expect(await readText(grant)).toBe('one');
  expect(provider.calls[1]!.known).toMatchObject({ version: 'one' });
});

test('after the clock was set back by more than max-stale, a value does not serve in an outage', async () => {
  const { provider, readText } = createCacheFixture({ maxStaleMs: 10 * minute });
  provider.script('db', value('one'), failed());
  await readText(grant);
  jest.setSystemTime(Date.now() - 10 * minute);
  expect(await readText(grant)).toBe('one');
  jest.setSystemTime(Date.now() - second);
  expect(await readText(grant)).toBe('failed STORE_UNAVAILABLE');
});

describe('moving versions', () => {
  test('are read again after the refresh interval, with the known version', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', numberedResponses());
    expect(await readText(grant)).toBe('1');
    await advanceClock(30 * second - 1);
    expect(await readText(grant)).toBe('1');
    await advanceClock(1);
    expect(await readText(grant)).toBe('2');
    expect(provider.calls[1]).toMatchObject({ known: { version: '1' }, urgency: 'refresh' });
  });

  test('are read each time with an interval of 0', async () => {
    const { provider, readText } = createCacheFixture({ refreshIntervalMs: 0 });
    provider.script('db', value('one'), unchanged(), value('two'));
    expect(await readText(grant)).toBe('one');
    expect(await readText(grant)).toBe('one');
    expect(await readText(grant)).toBe('two');
    expect(provider.calls).toHaveLength(3);
  });

  test('are read only on request', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', numberedResponses());
    await readText(grant);
    await advanceClock(10 * minute);
    expect(provider.calls).toHaveLength(1);
  });

  test('have jitter that only shortens the interval, by a tenth at most', () => {
    const ref = { service: 'kms', name: 'db' };
    const at = (random: number) =>
      computeFreshUntil(ref, { bytes: new Uint8Array() }, 1_000, 30_000, random);
    expect(at(0)).toBe(31_000);
    expect(at(0.5)).toBe(29_500);
    expect(at(0.999)).toBeGreaterThan(28_000);
  });
});

describe('a value that expires', () => {
  test.each([
    ['a value with an expiry', () => value('one', { expiresAt: Date.now() + 30 * minute })],
    [
      'one that is also pinned',
      () => value('one', { expiresAt: Date.now() + 30 * minute, immutable: true }),
    ],
    ['a lease', () => leased('one', Date.now() + 30 * minute, false)],
    [
      'one with two expiries, by the earlier one,',
      () =>
        value('one', {
          expiresAt: Date.now() + hour,
          lease: { id: 'l', renewable: false, expiresAt: Date.now() + 30 * minute },
        }),
    ],
  ])('%s is read again after two thirds of its life', async (_, createResponse) => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', createResponse(), value('two'));
    await readText(grant);
    await advanceClock(10 * minute);
    await readText(grant);
    await advanceClock(10 * minute - 1);
    expect(await readText(grant)).toBe('one');
    await advanceClock(1);
    expect(await readText(grant)).toBe('two');
    expect(provider.calls).toHaveLength(2);
  });

  test('is not served after its expiry, even in an outage and before the next tick', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', value('one', { expiresAt: Date.now() + 3 * minute }), failed());
    await readText(grant);
    await advanceTimers(3 * minute - 1);
    expect(await readText(grant)).toBe('one');
    await advanceTimers(1);
    expect(await readText(grant)).toBe('failed STORE_UNAVAILABLE');
  });

  test('is not sent to the store as known after its expiry', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one', { expiresAt: Date.now() + 3 * minute }), value('two'));
    await readText(grant);
    await advanceClock(4 * minute);
    expect(await readText(grant)).toBe('two');
    expect(provider.calls[1]!.known).toBeUndefined();
    expect(provider.calls[1]!.urgency).toBe('first');
  });
});

describe('methods other than GET', () => {
  test.each(['POST', 'PUT'] as const)(
    '%s: the pod reads its value again after an hour',
    async (method) => {
      const { provider, readText, advanceClock } = createCacheFixture();
      const issued = (pod: string) =>
        grantOf({
          ref: { service: 'vault', name: 'pki/issue', method, body: '{}' },
          pod,
          scope: 'pod',
        });
      provider.script('pki/issue', numberedResponses());
      expect(await readText(issued('a'))).toBe('1');
      expect(await readText(issued('b'))).toBe('2');
      await advanceClock(hour - 1);
      expect(await readText(issued('a'))).toBe('1');
      await advanceClock(1);
      expect(await readText(issued('a'))).toBe('3');
    },
  );

  test('use the expiry of the value if it has one', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    const issued = grantOf({
      ref: { service: 'vault', name: 'pki/issue', method: 'POST' },
      scope: 'pod',
    });
    provider.script('pki/issue', value('one', { expiresAt: Date.now() + 3 * hour }), value('two'));
    await readText(issued);
    await advanceClock(50 * minute);
    await readText(issued);
    await advanceClock(50 * minute);
    expect(await readText(issued)).toBe('one');
    await advanceClock(30 * minute);
    expect(await readText(issued)).toBe('two');
  });

  test('do not include GET, which is a moving version whether it is set or not', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    const read = grantOf({ ref: { service: 'vault', name: 'kv', method: 'GET' }, scope: 'pod' });
    provider.script('kv', numberedResponses());
    await readText(read);
    await advanceClock(30 * second);
    expect(await readText(read)).toBe('2');
  });
});

describe('an absent secret', () => {
  test('is cached for the refresh interval; a new pod reads again', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', absent(), absent(), value('one'));
    expect(await readText(grant)).toBe('absent OBJECT_NOT_FOUND');
    await advanceClock(29 * second);
    expect(await readText(grant)).toBe('absent OBJECT_NOT_FOUND');
    expect(provider.calls).toHaveLength(1);
    expect(await readText(newPod)).toBe('absent OBJECT_NOT_FOUND');
    expect(provider.calls).toHaveLength(2);
    await advanceClock(30 * second);
    expect(await readText(grant)).toBe('one');
    expect(provider.calls[2]!.known).toBeUndefined();
  });
});

describe('an outage', () => {
  test('serves the last good value up to 10 min after its delivery', async () => {
    const { provider, readText, advanceClock, count } = createCacheFixture();
    provider.script('db', value('one'), failed());
    await readText(grant);
    await advanceClock(10 * minute);
    expect(await readText(grant)).toBe('one');
    expect(await count('keyferry_secrets_served_total', { source: 'last-good' })).toBe(1);
    await advanceClock(1);
    expect(await readText(grant)).toBe('failed STORE_UNAVAILABLE');
  });

  test('serves the last good value to a new pod, too', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), failed());
    await readText(grant);
    await advanceClock(minute);
    expect(await readText(newPod)).toBe('one');
  });

  test('counts the 10 min from the delivery: a confirmation does not prolong them', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), unchanged(), failed());
    await readText(grant);
    await advanceClock(9 * minute);
    await readText(grant);
    await advanceClock(2 * minute);
    expect(await readText(grant)).toBe('failed STORE_UNAVAILABLE');
  });

  test('serves no value with max-stale 0, and every read is a first one', async () => {
    const { provider, readText, advanceClock } = createCacheFixture({ maxStaleMs: 0 });
    provider.script('db', value('one'), failed());
    await readText(grant);
    await advanceClock(30 * second);
    expect(await readText(grant)).toBe('failed STORE_UNAVAILABLE');
    expect(provider.calls[1]!.urgency).toBe('first');
  });

  test('leaves the value due: the next request reads again', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), failed(), value('two'));
    await readText(grant);
    await advanceClock(30 * second);
    expect(await readText(grant)).toBe('one');
    expect(await readText(grant)).toBe('two');
  });

  test('does not serve the value of another principal', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', value('one'), failed());
    await readText(grantOf({ principal: 'a' }));
    expect(await readText(grantOf({ principal: 'b' }))).toBe('failed STORE_UNAVAILABLE');
  });

  test('of one ref does not affect the others', async () => {
    const { cache, provider } = createCacheFixture();
    provider.script('up', value('up'));
    provider.script('down', failed());
    const grants = [grantOf({ ref: 'up' }), grantOf({ ref: 'down' })];
    const outcomes = await cache.read(provider, grants, {
      signal: new AbortController().signal,
      deadline: Date.now() + minute,
    });
    expect(outcomes.map(({ kind }) => kind)).toEqual(['value', 'failed']);
  });
});

describe('a refresh that the rate limiter refuses', () => {
  const rateLimited = failed('RATE_BUDGET_EXHAUSTED');

  test('serves the cached value and stays due', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), rateLimited, value('two'));
    await readText(grant);
    await advanceClock(30 * second);
    expect(await readText(grant)).toBe('one');
    expect(await readText(grant)).toBe('two');
  });

  test('serves it within max-stale only: after that the read is a first one', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), rateLimited);
    await readText(grant);
    await advanceClock(10 * minute + 1);
    expect(await readText(grant)).toBe('failed RATE_BUDGET_EXHAUSTED');
    expect(provider.calls[1]!.urgency).toBe('first');
  });

  test('reads no fallback region', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    const withFallback = grantOf({ fallbacks: [grantOf({ ref: 'elsewhere' })] });
    provider.script('db', value('one'), rateLimited);
    provider.script('elsewhere', value('elsewhere'));
    await readText(withFallback);
    await advanceClock(30 * second);
    expect(await readText(withFallback)).toBe('one');
    expect(provider.calls.map(({ name }) => name)).toEqual(['db', 'db']);
  });

  test('does not serve a new pod after 15 min: its read is a first one', async () => {
    const { provider, readText, advanceClock } = createCacheFixture({ maxStaleMs: hour });
    provider.script('db', value('one'), ({ urgency }) =>
      urgency === 'refresh' ? rateLimited : value('two'),
    );
    await readText(grant);
    await advanceClock(16 * minute);
    expect(await readText(newPod)).toBe('two');
  });

  test('makes a first mount that joined it read again itself', async () => {
    const { provider, readText, advanceClock } = createCacheFixture({ maxStaleMs: hour });
    provider.script(
      'db',
      value('one'),
      async ({ urgency }) => {
        await new Promise((resolve) => setTimeout(resolve, 2 * second));
        return urgency === 'refresh' ? rateLimited : value('early');
      },
      value('two'),
    );
    await readText(grant);
    await advanceClock(16 * minute);
    const refreshing = readText(grant);
    const first = readText(newPod);
    await advanceClock(2 * second);
    expect(await refreshing).toBe('one');
    expect(await first).toBe('two');
    expect(provider.calls.map(({ urgency }) => urgency)).toEqual(['first', 'refresh', 'first']);
  });
});
