import { describe, expect, jest, test } from '@jest/globals';
import {
  absent,
  failed,
  grantOf,
  podGrantOf,
  deferredResponse,
  leased,
  unchanged,
  value,
} from '../../test/fakes/scripted-provider.ts';
import {
  advanceTimers,
  createCacheFixture,
  minute,
  useFakeClock,
  second,
  flushTasks,
} from '../../test/fakes/cache-fixture.ts';

useFakeClock();

/** A renewal for an hour from the time of its request. */
const renewedForOneHour = () => ({ kind: 'renewed', expiresAt: Date.now() + 60 * minute }) as const;

describe('a lease', () => {
  test('is renewed at two thirds of its life, repeatedly, while its pod sends requests', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 60 * minute));
    provider.scriptRenewals(renewedForOneHour);
    for (let request = 0; request < 48; request++) {
      expect(await readText(podGrantOf('a'))).toBe('one');
      await advanceClock(5 * minute);
    }
    // Four hours are six times forty minutes.
    expect(provider.renewals).toEqual(
      Array.from({ length: 6 }, () => ({
        lease: 'lease of one',
        principal: 'principal',
        pod: 'a',
      })),
    );
    expect(provider.calls).toHaveLength(1);
  });

  test('is not renewed earlier, or if it is not renewable', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script(
      'db',
      leased('one', Date.now() + 15 * minute),
      leased('two', Date.now() + 60 * minute, false),
    );
    await readText(podGrantOf('a'));
    await readText(podGrantOf('b'));
    await advanceClock(9 * minute + 50 * second);
    expect(provider.renewals).toEqual([]);
    await readText(podGrantOf('a'));
    await readText(podGrantOf('b'));
    await advanceClock(10 * second);
    expect(provider.renewals.map(({ pod }) => pod)).toEqual(['a']);
  });

  test('is released once when its pod has sent no request for ten minutes, but others have', async () => {
    const { provider, readText, advanceClock, advanceClockWithTraffic } = createCacheFixture();
    provider.script(
      'db',
      leased('one', Date.now() + 24 * 60 * minute),
      leased('two', Date.now() + 24 * 60 * minute),
    );
    await readText(podGrantOf('a'));
    await advanceClock(5 * minute);
    await readText(podGrantOf('a'));
    await advanceClockWithTraffic(10 * minute);
    expect(provider.releases).toEqual([]);
    await advanceClockWithTraffic(30 * minute);
    expect(provider.releases).toEqual([
      { lease: 'lease of one', principal: 'principal', pod: 'a' },
    ]);
    expect(await readText(podGrantOf('a'))).toBe('two');
  });

  test('is renewed for an hour when no pod sends requests, since the driver may be down', async () => {
    const { provider, readText, advanceClock, warnings } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 12 * minute));
    provider.scriptRenewals(() => ({ kind: 'renewed', expiresAt: Date.now() + 12 * minute }));
    await readText(podGrantOf('a'));
    await advanceClock(minute);
    await readText(podGrantOf('a'));
    await advanceClock(45 * minute);
    expect(await readText(podGrantOf('a'))).toBe('one');
    await advanceClock(90 * minute);
    expect(provider.releases).toEqual([]);
    expect(provider.calls).toHaveLength(1);
    // Every eight minutes, up to an hour after the latest request.
    expect(provider.renewals).toHaveLength(13);
    expect(warnings).toMatchObject([
      { msg: expect.stringMatching(/^no pod has requested .* for an hour/) },
    ]);
  });

  test('is dropped when the store has ended it, and the next request reads again', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script(
      'db',
      leased('one', Date.now() + 9 * minute),
      leased('two', Date.now() + 24 * 60 * minute),
    );
    provider.scriptRenewals({ kind: 'ended' });
    await readText(podGrantOf('a'));
    await advanceClock(6 * minute + 10 * second);
    expect(provider.renewals).toHaveLength(1);
    expect(await readText(podGrantOf('a'))).toBe('two');
    expect(provider.calls[1]!.known).toBeUndefined();
  });

  test('stays until it expires when its renewal gets no response, and is not served afterwards', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 9 * minute), failed());
    provider.scriptRenewals('STORE_UNAVAILABLE');
    await readText(podGrantOf('a'));
    await advanceClock(9 * minute - 5 * second);
    // Every ten seconds after two thirds of its life.
    expect(provider.renewals.length).toBeGreaterThan(10);
    expect(provider.renewals.length).toBeLessThan(20);
    expect(await readText(podGrantOf('a'))).toBe('one');
    await advanceClock(5 * second);
    expect(await readText(podGrantOf('a'))).toBe('failed STORE_UNAVAILABLE');
    expect(provider.releases).toEqual([]);
  });

  test('is renewed when the store responds again', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 9 * minute));
    provider.scriptRenewals('STORE_UNAVAILABLE', renewedForOneHour);
    await readText(podGrantOf('a'));
    await advanceClock(9 * minute);
    expect(await readText(podGrantOf('a'))).toBe('one');
    expect(provider.calls).toHaveLength(1);
  });

  test('has one renewal in flight at a time', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 9 * minute));
    provider.scriptRenewals(() => new Promise(() => undefined));
    await readText(podGrantOf('a'));
    await advanceClock(8 * minute);
    expect(provider.renewals).toHaveLength(1);
  });

  test('counts as delivered when renewed, and serves a new pod of its principal after 15 min', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 30 * minute));
    provider.scriptRenewals(renewedForOneHour);
    await readText(grantOf({ pod: 'a' }));
    for (let request = 0; request < 5; request++) {
      await advanceClock(5 * minute);
      await readText(grantOf({ pod: 'a' }));
    }
    expect(provider.renewals).toHaveLength(1);
    expect(await readText(grantOf({ pod: 'new' }))).toBe('one');
    expect(provider.calls).toHaveLength(1);
  });

  test('keeps the later expiry when the store confirms it during a renewal', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    const confirmation = deferredResponse();
    provider.script('db', leased('one', Date.now() + 9 * minute), confirmation.response);
    let renew = (): void => undefined;
    provider.scriptRenewals(
      () =>
        new Promise((resolve) => {
          renew = () => resolve(renewedForOneHour());
        }),
    );
    await readText(podGrantOf('a'));
    await advanceClock(6 * minute);
    const pendingRead = readText(podGrantOf('a'));
    await flushTasks();
    expect(provider.calls).toHaveLength(2);
    renew();
    await flushTasks();
    confirmation.resolve(unchanged());
    expect(await pendingRead).toBe('one');
    await advanceClock(4 * minute);
    expect(await readText(podGrantOf('a'))).toBe('one');
    expect(provider.calls).toHaveLength(2);
  });

  test('stays dropped when a renewal finds it ended and an earlier request confirms it', async () => {
    const { cache, provider, readText, advanceClock } = createCacheFixture();
    const confirmation = deferredResponse();
    provider.script(
      'db',
      leased('one', Date.now() + 9 * minute),
      confirmation.response,
      leased('two', Date.now() + 30 * minute),
    );
    provider.scriptRenewals({ kind: 'ended' });
    await readText(podGrantOf('a'));
    await advanceClock(6 * minute - second);
    await advanceTimers(second);
    const pendingRead = readText(podGrantOf('a'));
    await flushTasks();
    cache.tick();
    await flushTasks();
    confirmation.resolve(unchanged());
    expect(await pendingRead).toBe('two');
  });

  test('is dropped when its renewal finds it ended, although a read confirmed it meanwhile', async () => {
    const { cache, provider, readText, advanceClock } = createCacheFixture();
    let finishAsEnded = (): void => undefined;
    provider.script(
      'db',
      leased('one', Date.now() + 9 * minute),
      unchanged(),
      leased('two', Date.now() + 30 * minute),
    );
    provider.scriptRenewals(
      () =>
        new Promise((resolve) => {
          finishAsEnded = () => resolve({ kind: 'ended' });
        }),
    );
    await readText(podGrantOf('a'));
    await advanceClock(6 * minute);
    expect(await readText(podGrantOf('a'))).toBe('one');
    finishAsEnded();
    await flushTasks();
    cache.tick();
    expect(await readText(podGrantOf('a'))).toBe('two');
  });

  test('is released when the cache refuses its value', async () => {
    const { provider, readText } = createCacheFixture({ maxBytes: 4 * 7_000 });
    provider.script(
      'db',
      leased('one', Date.now() + 60 * minute),
      leased('x'.repeat(4_000), Date.now() + 60 * minute),
    );
    expect(await readText(podGrantOf('a'))).toBe('one');
    expect(await readText(podGrantOf('b'))).toBe('failed LEASES_EXHAUSTED');
    expect(provider.releases).toMatchObject([{ pod: 'b' }]);
    expect(await readText(podGrantOf('a'))).toBe('one');
    expect(provider.calls).toHaveLength(2);
  });

  test('is left alone when its provider can neither renew nor release', async () => {
    const { cache, provider, advanceClock } = createCacheFixture();
    const providerWithoutLeases = { ...provider, renew: undefined, release: undefined } as never;
    provider.script('db', leased('one', Date.now() + 30 * minute));
    const waiter = { signal: new AbortController().signal, deadline: Date.now() + minute };
    await cache.read(providerWithoutLeases, [podGrantOf('a')], waiter);
    await advanceClock(29 * minute);
    expect(provider.renewals).toEqual([]);
    expect(provider.releases).toEqual([]);
  });

  test('is kept when its provider throws instead of rejecting', async () => {
    const { cache, provider, advanceClock, advanceClockWithTraffic, count } = createCacheFixture();
    const throwingProvider = {
      ...provider,
      release: () => {
        throw new Error('as scripted');
      },
    };
    provider.script('db', leased('one', Date.now() + 24 * 60 * minute));
    const waiter = { signal: new AbortController().signal, deadline: Date.now() + minute };
    await cache.read(throwingProvider, [podGrantOf('a'), podGrantOf('b')], waiter);
    await advanceClock(minute);
    await cache.read(throwingProvider, [podGrantOf('a'), podGrantOf('b')], waiter);
    await advanceClockWithTraffic(12 * minute);
    expect(await count('keyferry_lease_events_total', { result: 'failed' })).toBe(2);
  });
});

describe('a lease whose pod sends only one request', () => {
  const day = 24 * 60 * minute;

  test('is no longer renewed after ten minutes and left to expire, with one warning per class', async () => {
    const { provider, readText, advanceClock, count, warnings } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 12 * minute), leased('two', Date.now() + day));
    provider.scriptRenewals(renewedForOneHour);
    await readText(podGrantOf('a'));
    await readText(podGrantOf('b'));
    await advanceClock(3 * 60 * minute);
    expect(provider.releases).toEqual([]);
    expect(provider.renewals.map(({ pod }) => pod)).toEqual(['a']);
    expect(await count('keyferry_lease_events_total', { result: 'lapsed' })).toBe(2);
    expect(warnings).toEqual([
      expect.objectContaining({
        msg: 'a leased secret was requested once and never again: its lease is no longer renewed',
        hint: expect.stringContaining('--pod-watch on'),
        namespace: 'team',
        ref: 'db',
      }),
    ]);
  });

  test('is not released when the pod has two volumes and so sends two requests', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + day));
    await readText(podGrantOf('a'));
    await advanceClock(20 * second);
    await readText(podGrantOf('a'));
    await advanceClock(11 * minute);
    expect(provider.releases).toEqual([]);
  });

  test('is not released when its first mount took several attempts', async () => {
    const { cache, provider, advanceClock } = createCacheFixture();
    const other = podGrantOf('a', { ref: 'other' });
    provider.script('db', leased('one', Date.now() + day));
    provider.script('other', failed(), failed(), value('there'));
    for (let attempt = 0; attempt < 3; attempt++) {
      const waiter = { signal: new AbortController().signal, deadline: Date.now() + minute };
      await cache.read(provider, [podGrantOf('a'), other], waiter);
      await advanceClock(minute);
    }
    await advanceClock(11 * minute);
    expect(provider.releases).toEqual([]);
  });

  test('is not released when another pod of its account sends a request later', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + day));
    await readText(grantOf({ pod: 'a' }));
    await advanceClock(minute);
    await readText(grantOf({ pod: 'b' }));
    await advanceClock(11 * minute);
    expect(provider.releases).toEqual([]);
  });
});

describe('when pods are watched', () => {
  const day = 24 * 60 * minute;

  function createWatchedFixture() {
    const gone = new Set<string>();
    const unwatched = new Set<string>();
    const fixture = createCacheFixture({
      presence: (instance) =>
        gone.has(instance) ? 'gone' : unwatched.has(instance) ? 'unknown' : 'here',
    });
    return { ...fixture, gone, unwatched };
  }

  test('a lease is renewed while its pod exists, although it sends no more requests', async () => {
    const { provider, readText, advanceClock } = createWatchedFixture();
    provider.script('db', leased('one', Date.now() + 60 * minute));
    provider.scriptRenewals(renewedForOneHour);
    await readText(podGrantOf('a'));
    await advanceClock(4 * 60 * minute + minute);
    expect(provider.renewals).toHaveLength(6);
    expect(provider.releases).toEqual([]);
  });

  test('a lease is released once when its pod is gone', async () => {
    const { cache, provider, readText, advanceClock, gone, count } = createWatchedFixture();
    provider.script('db', leased('one', Date.now() + day), leased('two', Date.now() + day));
    await readText(podGrantOf('a'));
    await readText(podGrantOf('b'));
    gone.add('a');
    cache.tick();
    await advanceClock(minute);
    expect(provider.releases).toEqual([
      { lease: 'lease of one', principal: 'principal', pod: 'a' },
    ]);
    expect(await count('keyferry_lease_events_total', { result: 'released' })).toBe(1);
    expect(await readText(podGrantOf('b'))).toBe('two');
  });

  test('a lease that arrives after its pod is gone is released, too', async () => {
    const { provider, readText, advanceClock, gone } = createWatchedFixture();
    const lateResponse = deferredResponse();
    provider.script('db', lateResponse.response);
    const pendingRead = readText(podGrantOf('a'));
    await flushTasks();
    gone.add('a');
    await advanceClock(10 * second);
    lateResponse.resolve(leased('one', Date.now() + day));
    expect(await pendingRead).toBe('one');
    await advanceClock(10 * second);
    expect(provider.releases).toHaveLength(1);
  });

  test('a lease whose renewal is in flight is released, and the renewal does not restore it', async () => {
    const { cache, provider, readText, advanceClock, gone } = createWatchedFixture();
    let renew = (): void => undefined;
    provider.script('db', leased('one', Date.now() + 9 * minute), leased('two', Date.now() + day));
    provider.scriptRenewals(
      () =>
        new Promise((resolve) => {
          renew = () => resolve(renewedForOneHour());
        }),
    );
    await readText(podGrantOf('a'));
    await advanceClock(6 * minute);
    expect(provider.renewals).toHaveLength(1);
    gone.add('a');
    cache.tick();
    renew();
    await flushTasks();
    expect(provider.releases).toHaveLength(1);
    expect(await readText(podGrantOf('a'))).toBe('two');
  });

  test('other values of the pod are dropped with it, and shared values stay', async () => {
    const { provider, readText, advanceClock, gone, count } = createWatchedFixture();
    provider.script('own', value('own'));
    provider.script('kv', value('kv', { shareable: true, immutable: true }));
    await readText(podGrantOf('a', { ref: 'kv' }));
    const shared = await count('keyferry_cache_bytes');
    await readText(podGrantOf('a', { ref: 'own' }));
    gone.add('a');
    await advanceClock(10 * second);
    expect(await count('keyferry_cache_bytes')).toBe(shared);
    expect(await readText(podGrantOf('b', { ref: 'kv' }))).toBe('kv');
    expect(provider.calls).toHaveLength(2);
  });

  test('a lease of an account stays after the pod that read it is gone', async () => {
    const { provider, readText, advanceClock, advanceClockWithTraffic, gone } =
      createWatchedFixture();
    provider.script('db', leased('one', Date.now() + day));
    await readText(grantOf({ pod: 'a' }));
    gone.add('a');
    await advanceClock(5 * minute);
    for (let request = 0; request < 2; request++) {
      expect(await readText(grantOf({ pod: 'b' }))).toBe('one');
      await advanceClock(minute);
    }
    expect(provider.releases).toEqual([]);
    await advanceClockWithTraffic(11 * minute);
    expect(provider.releases).toHaveLength(1);
  });

  test('and the watch ends, requests are the sign of life again', async () => {
    const { provider, readText, advanceClock, advanceClockWithTraffic, unwatched } =
      createWatchedFixture();
    provider.script('db', leased('one', Date.now() + day));
    await readText(podGrantOf('a'));
    await advanceClock(60 * minute);
    await readText(podGrantOf('a'));
    unwatched.add('a');
    await advanceClockWithTraffic(9 * minute);
    expect(provider.releases).toEqual([]);
    await advanceClockWithTraffic(3 * minute);
    expect(provider.releases).toHaveLength(1);
  });
});

describe('a clock', () => {
  test.each([
    ['forward', 30],
    ['by a day', 24 * 60],
  ])(
    'that is set %s releases no lease of a running pod, whichever pod sends the first request',
    async (_, minutes) => {
      const { provider, readText, advanceClock, advanceClockWithTraffic } = createCacheFixture();
      provider.script('db', leased('one', Date.now() + 48 * 60 * minute));
      await readText(podGrantOf('a'));
      await advanceClockWithTraffic(minute);
      await readText(podGrantOf('a'));
      jest.setSystemTime(Date.now() + minutes * minute);
      await advanceClockWithTraffic(9 * minute);
      expect(provider.releases).toEqual([]);
      expect(await readText(podGrantOf('a'))).toBe('one');
      await advanceClock(minute);
      await advanceClockWithTraffic(13 * minute);
      expect(provider.releases).toHaveLength(1);
    },
  );

  test('that is set back releases no lease of a running pod, and soon that of a pod that is gone', async () => {
    const { provider, readText, advanceClock, advanceClockWithTraffic } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 48 * 60 * minute), unchanged());
    provider.scriptRenewals(renewedForOneHour);
    await readText(podGrantOf('a'));
    await advanceClockWithTraffic(2 * minute);
    await readText(podGrantOf('a'));
    jest.setSystemTime(Date.now() - 60 * minute);
    await advanceClock(11 * minute);
    expect(provider.releases).toEqual([]);
    await advanceClockWithTraffic(3 * minute);
    expect(provider.releases).toHaveLength(1);
  });

  test('that is set back makes leases from the future due at once, with retries and the new expiry', async () => {
    const { provider, readText, advanceClock } = createCacheFixture({ presence: () => 'here' });
    const future = Date.now() + 24 * 60 * minute;
    jest.setSystemTime(future);
    provider.script('db', leased('one', future + 60 * minute));
    provider.scriptRenewals('STORE_UNAVAILABLE', renewedForOneHour);
    await readText(podGrantOf('a'));
    await advanceClock(45 * minute);
    expect(provider.renewals.length).toBeGreaterThan(0);
    const before = provider.renewals.length;
    jest.setSystemTime(Date.now() - 24 * 60 * minute);
    await advanceClock(10 * second);
    expect(provider.renewals).toHaveLength(before + 1);
    await advanceClock(39 * minute);
    expect(provider.renewals).toHaveLength(before + 1);
    await advanceClock(2 * minute);
    expect(provider.renewals).toHaveLength(before + 2);
  });

  test('drops entries that have expired, and those without a request for an hour', async () => {
    const { provider, readText, advanceClock, count } = createCacheFixture();
    provider.script('pinned', value('pinned', { immutable: true }));
    provider.script('ending', value('ending', { expiresAt: Date.now() + 20 * minute }));
    await readText(grantOf({ ref: 'pinned' }));
    const pinnedBytes = await count('keyferry_cache_bytes');
    await readText(grantOf({ ref: 'ending' }));
    provider.script('absent', absent());
    await readText(grantOf({ ref: 'absent' }));
    await advanceClock(20 * minute);
    await readText(grantOf({ ref: 'pinned' }));
    await advanceClock(59 * minute);
    expect(await count('keyferry_cache_bytes')).toBe(pinnedBytes);
    await advanceClock(2 * minute);
    expect(await count('keyferry_cache_bytes')).toBe(0);
  });
});
