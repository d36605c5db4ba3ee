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
import { freshUntil } from './freshness.ts';

useFakeClock();

const grant = grantOf({});
const newPod = grantOf({ pod: 'new' });

/** Answers with the number of the question. */
const numberedResponses = (fields: Parameters<typeof value>[1] = {}) => {
  let requestCount = 0;
  return () => value(`${(requestCount += 1)}`, fields);
};

describe("the store's authorization", () => {
  test.each([
    ['moving', {}, 15 * minute],
    ['pinned', { immutable: true }, undefined],
  ])(
    'a %s value serves a new pod up to 15 min after its delivery',
    async (_, fields, refreshInterval) => {
      const { provider, readText, advanceClock } = createCacheFixture({
        refreshInterval: refreshInterval ?? 30 * second,
      });
      provider.script('db', numberedResponses(fields));
      expect(await readText(grant)).toBe('1');
      await advanceClock(15 * minute - second);
      expect(await readText(newPod)).toBe('1');
    },
  );

  test('a pinned value is read again for a new pod after 15 min, and then serves the next one', async () => {
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

  test('a pod that has been served is new for another principal, and for another ref', async () => {
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

  test('a pod whose volume could not be filled is still new', async () => {
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

test('after the clock was set back, what was delivered in the future is asked for again', async () => {
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

test('after the clock was set back, a running pod has its version confirmed and not leased anew', async () => {
  const { provider, readText } = createCacheFixture();
  provider.script('db', value('one'), unchanged());
  await readText(grant);
  jest.setSystemTime(Date.now() - hour);
  expect(await readText(grant)).toBe('one');
  expect(provider.calls[1]!.known).toMatchObject({ version: 'one' });
});

test('after the clock was set back by more than a value may be stale, it does not serve while nobody answers', async () => {
  const { provider, readText } = createCacheFixture({ maxStale: 10 * minute });
  provider.script('db', value('one'), failed());
  await readText(grant);
  jest.setSystemTime(Date.now() - 10 * minute);
  expect(await readText(grant)).toBe('one');
  jest.setSystemTime(Date.now() - second);
  expect(await readText(grant)).toBe('failed STORE_UNAVAILABLE');
});

describe('moving versions', () => {
  test('are asked again after the refresh interval, with the version that is known', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', numberedResponses());
    expect(await readText(grant)).toBe('1');
    await advanceClock(30 * second - 1);
    expect(await readText(grant)).toBe('1');
    await advanceClock(1);
    expect(await readText(grant)).toBe('2');
    expect(provider.calls[1]).toMatchObject({ known: { version: '1' }, urgency: 'refresh' });
  });

  test('with an interval of 0 are asked for each time', async () => {
    const { provider, readText } = createCacheFixture({ refreshInterval: 0 });
    provider.script('db', value('one'), unchanged(), value('two'));
    expect(await readText(grant)).toBe('one');
    expect(await readText(grant)).toBe('one');
    expect(await readText(grant)).toBe('two');
    expect(provider.calls).toHaveLength(3);
  });

  test('are asked for by nobody but a request', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', numberedResponses());
    await readText(grant);
    await advanceClock(10 * minute);
    expect(provider.calls).toHaveLength(1);
  });

  test('jitter only shortens, and by a tenth at most', () => {
    const ref = { service: 'kms', name: 'db' };
    const at = (random: number) =>
      freshUntil(ref, { bytes: new Uint8Array() }, 1_000, 30_000, random);
    expect(at(0)).toBe(31_000);
    expect(at(0.5)).toBe(29_500);
    expect(at(0.999)).toBeGreaterThan(28_000);
  });
});

describe('what ends', () => {
  test.each([
    ['a value with an end', () => value('one', { expiresAt: Date.now() + 30 * minute })],
    [
      'one that is pinned besides',
      () => value('one', { expiresAt: Date.now() + 30 * minute, immutable: true }),
    ],
    ['a lease', () => leased('one', Date.now() + 30 * minute, false)],
    [
      'the sooner of both ends',
      () =>
        value('one', {
          expiresAt: Date.now() + hour,
          lease: { id: 'l', renewable: false, expiresAt: Date.now() + 30 * minute },
        }),
    ],
  ])('%s is asked for again after two thirds of its life', async (_, createResponse) => {
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

  test('is not served past its end, though nobody answers and the clock has not ticked', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', value('one', { expiresAt: Date.now() + 3 * minute }), failed());
    await readText(grant);
    await advanceTimers(3 * minute - 1);
    expect(await readText(grant)).toBe('one');
    await advanceTimers(1);
    expect(await readText(grant)).toBe('failed STORE_UNAVAILABLE');
  });

  test('is not shown to the store as known past its end', async () => {
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
    '%s is asked for again after an hour, by the pod itself',
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

  test('with an end of its own goes by that', async () => {
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

  test('GET, said or not, is a moving version', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    const read = grantOf({ ref: { service: 'vault', name: 'kv', method: 'GET' }, scope: 'pod' });
    provider.script('kv', numberedResponses());
    await readText(read);
    await advanceClock(30 * second);
    expect(await readText(read)).toBe('2');
  });
});

describe('absent', () => {
  test('is remembered for who was told so, for the refresh interval; a new pod asks', async () => {
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
  test('is bridged by the last good value, up to 10 min after its delivery', async () => {
    const { provider, readText, advanceClock, count } = createCacheFixture();
    provider.script('db', value('one'), failed());
    await readText(grant);
    await advanceClock(10 * minute);
    expect(await readText(grant)).toBe('one');
    expect(await count('keyferry_secrets_served_total', { source: 'last-good' })).toBe(1);
    await advanceClock(1);
    expect(await readText(grant)).toBe('failed STORE_UNAVAILABLE');
  });

  test('also for a new pod', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), failed());
    await readText(grant);
    await advanceClock(minute);
    expect(await readText(newPod)).toBe('one');
  });

  test('counts from the delivery: a confirmation does not prolong it', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), unchanged(), failed());
    await readText(grant);
    await advanceClock(9 * minute);
    await readText(grant);
    await advanceClock(2 * minute);
    expect(await readText(grant)).toBe('failed STORE_UNAVAILABLE');
  });

  test('with max-stale 0 is not bridged, and every question is a first one', async () => {
    const { provider, readText, advanceClock } = createCacheFixture({ maxStale: 0 });
    provider.script('db', value('one'), failed());
    await readText(grant);
    await advanceClock(30 * second);
    expect(await readText(grant)).toBe('failed STORE_UNAVAILABLE');
    expect(provider.calls[1]!.urgency).toBe('first');
  });

  test('leaves the value due: the next request asks again', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), failed(), value('two'));
    await readText(grant);
    await advanceClock(30 * second);
    expect(await readText(grant)).toBe('one');
    expect(await readText(grant)).toBe('two');
  });

  test('serves nobody what another principal was given', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', value('one'), failed());
    await readText(grantOf({ principal: 'a' }));
    expect(await readText(grantOf({ principal: 'b' }))).toBe('failed STORE_UNAVAILABLE');
  });

  test('of one refs leaves the others alone', async () => {
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

describe('a refresh that gets no budget', () => {
  const rateLimited = failed('RATE_BUDGET_EXHAUSTED');

  test('is served what is cached, and stays due', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), rateLimited, value('two'));
    await readText(grant);
    await advanceClock(30 * second);
    expect(await readText(grant)).toBe('one');
    expect(await readText(grant)).toBe('two');
  });

  test('within max-stale only: after that the question is a first one', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), rateLimited);
    await readText(grant);
    await advanceClock(10 * minute + 1);
    expect(await readText(grant)).toBe('failed RATE_BUDGET_EXHAUSTED');
    expect(provider.calls[1]!.urgency).toBe('first');
  });

  test('asks no other region for it', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    const withFallback = grantOf({ fallbacks: [grantOf({ ref: 'elsewhere' })] });
    provider.script('db', value('one'), rateLimited);
    provider.script('elsewhere', value('elsewhere'));
    await readText(withFallback);
    await advanceClock(30 * second);
    expect(await readText(withFallback)).toBe('one');
    expect(provider.calls.map(({ name }) => name)).toEqual(['db', 'db']);
  });

  test('does not stand for a new pod beyond 15 min: its question is a first one', async () => {
    const { provider, readText, advanceClock } = createCacheFixture({ maxStale: hour });
    provider.script('db', value('one'), ({ urgency }) =>
      urgency === 'refresh' ? rateLimited : value('two'),
    );
    await readText(grant);
    await advanceClock(16 * minute);
    expect(await readText(newPod)).toBe('two');
  });

  test('and is joined by a first mount: that one asks again itself', async () => {
    const { provider, readText, advanceClock } = createCacheFixture({ maxStale: hour });
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
