import { describe, expect, jest, test } from '@jest/globals';
import {
  absent,
  failed,
  grantOf,
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

const pod = (name: string) => grantOf({ ref: 'db', pod: name, scope: 'pod' });

/** A renewal for an hour from when it is asked for. */
const renewedForOneHour = () => ({ kind: 'renewed', expiresAt: Date.now() + 60 * minute }) as const;

describe('a lease', () => {
  test('is renewed at two thirds of its life, again and again, while its pod asks', async () => {
    const { provider, readText: ask, advanceClock: pass } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 60 * minute));
    provider.scriptRenewals(renewedForOneHour);
    for (let asked = 0; asked < 48; asked++) {
      expect(await ask(pod('a'))).toBe('one');
      await pass(5 * minute);
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

  test('is not renewed before, nor where it is not renewable', async () => {
    const { provider, readText: ask, advanceClock: pass } = createCacheFixture();
    provider.script(
      'db',
      leased('one', Date.now() + 15 * minute),
      leased('two', Date.now() + 60 * minute, false),
    );
    await ask(pod('a'));
    await ask(pod('b'));
    await pass(9 * minute + 50 * second);
    expect(provider.renewals).toEqual([]);
    await ask(pod('a'));
    await ask(pod('b'));
    await pass(10 * second);
    expect(provider.renewals.map(({ pod }) => pod)).toEqual(['a']);
  });

  test('is given back, once, when its pod has not asked for ten minutes, and others have', async () => {
    const {
      provider,
      readText: ask,
      advanceClock: pass,
      advanceClockWithTraffic: passAmongOthers,
    } = createCacheFixture();
    provider.script(
      'db',
      leased('one', Date.now() + 24 * 60 * minute),
      leased('two', Date.now() + 24 * 60 * minute),
    );
    await ask(pod('a'));
    await pass(5 * minute);
    await ask(pod('a'));
    await passAmongOthers(10 * minute);
    expect(provider.releases).toEqual([]);
    await passAmongOthers(30 * minute);
    expect(provider.releases).toEqual([
      { lease: 'lease of one', principal: 'principal', pod: 'a' },
    ]);
    expect(await ask(pod('a'))).toBe('two');
  });

  test('is renewed on where nobody asks any more, for an hour: the driver may be away, and its pod still run', async () => {
    const { provider, readText: ask, advanceClock: pass, warnings } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 12 * minute));
    provider.scriptRenewals(() => ({ kind: 'renewed', expiresAt: Date.now() + 12 * minute }));
    await ask(pod('a'));
    await pass(minute);
    await ask(pod('a'));
    await pass(45 * minute);
    expect(await ask(pod('a'))).toBe('one');
    await pass(90 * minute);
    expect(provider.releases).toEqual([]);
    expect(provider.calls).toHaveLength(1);
    // Every eight minutes, up to an hour after the latest request.
    expect(provider.renewals).toHaveLength(13);
    expect(warnings).toMatchObject([
      { msg: expect.stringMatching(/^nobody has asked .* for an hour/) },
    ]);
  });

  test('that has ended by the store is dropped: the next request reads anew', async () => {
    const { provider, readText: ask, advanceClock: pass } = createCacheFixture();
    provider.script(
      'db',
      leased('one', Date.now() + 9 * minute),
      leased('two', Date.now() + 24 * 60 * minute),
    );
    provider.scriptRenewals({ kind: 'ended' });
    await ask(pod('a'));
    await pass(6 * minute + 10 * second);
    expect(provider.renewals).toHaveLength(1);
    expect(await ask(pod('a'))).toBe('two');
    expect(provider.calls[1]!.known).toBeUndefined();
  });

  test('lives to its end when nobody answers its renewal, and is not served past it', async () => {
    const { provider, readText: ask, advanceClock: pass } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 9 * minute), failed());
    provider.scriptRenewals('STORE_UNAVAILABLE');
    await ask(pod('a'));
    await pass(9 * minute - 5 * second);
    // Every ten seconds from two thirds on.
    expect(provider.renewals.length).toBeGreaterThan(10);
    expect(provider.renewals.length).toBeLessThan(20);
    expect(await ask(pod('a'))).toBe('one');
    await pass(5 * second);
    expect(await ask(pod('a'))).toBe('failed STORE_UNAVAILABLE');
    expect(provider.releases).toEqual([]);
  });

  test('is renewed once the store answers again', async () => {
    const { provider, readText: ask, advanceClock: pass } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 9 * minute));
    provider.scriptRenewals('STORE_UNAVAILABLE', renewedForOneHour);
    await ask(pod('a'));
    await pass(9 * minute);
    expect(await ask(pod('a'))).toBe('one');
    expect(provider.calls).toHaveLength(1);
  });

  test('has one renewal under way at a time', async () => {
    const { provider, readText: ask, advanceClock: pass } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 9 * minute));
    provider.scriptRenewals(() => new Promise(() => undefined));
    await ask(pod('a'));
    await pass(8 * minute);
    expect(provider.renewals).toHaveLength(1);
  });

  test('renewed counts as delivered: it serves a new pod of its principal after more than 15 min', async () => {
    const { provider, readText: ask, advanceClock: pass } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 30 * minute));
    provider.scriptRenewals(renewedForOneHour);
    await ask(grantOf({ pod: 'a' }));
    for (let asked = 0; asked < 5; asked++) {
      await pass(5 * minute);
      await ask(grantOf({ pod: 'a' }));
    }
    expect(provider.renewals).toHaveLength(1);
    expect(await ask(grantOf({ pod: 'new' }))).toBe('one');
    expect(provider.calls).toHaveLength(1);
  });

  test('that the store confirms while a renewal is under way keeps the later end', async () => {
    const { provider, readText: ask, advanceClock: pass } = createCacheFixture();
    const confirmation = deferredResponse();
    provider.script('db', leased('one', Date.now() + 9 * minute), confirmation.response);
    let renew = (): void => undefined;
    provider.scriptRenewals(
      () =>
        new Promise((resolve) => {
          renew = () => resolve(renewedForOneHour());
        }),
    );
    await ask(pod('a'));
    await pass(6 * minute);
    const pendingRead = ask(pod('a'));
    await flushTasks();
    expect(provider.calls).toHaveLength(2);
    renew();
    await flushTasks();
    confirmation.resolve(unchanged());
    expect(await pendingRead).toBe('one');
    await pass(4 * minute);
    expect(await ask(pod('a'))).toBe('one');
    expect(provider.calls).toHaveLength(2);
  });

  test('that a renewal finds ended is not brought back by a confirmation asked for before', async () => {
    const { cache: store, provider, readText: ask, advanceClock: pass } = createCacheFixture();
    const confirmation = deferredResponse();
    provider.script(
      'db',
      leased('one', Date.now() + 9 * minute),
      confirmation.response,
      leased('two', Date.now() + 30 * minute),
    );
    provider.scriptRenewals({ kind: 'ended' });
    await ask(pod('a'));
    await pass(6 * minute - second);
    await advanceTimers(second);
    const pendingRead = ask(pod('a'));
    await flushTasks();
    store.tick();
    await flushTasks();
    confirmation.resolve(unchanged());
    expect(await pendingRead).toBe('two');
  });

  test('confirmed while its renewal is under way is dropped all the same if that finds it ended', async () => {
    const { cache: store, provider, readText: ask, advanceClock: pass } = createCacheFixture();
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
    await ask(pod('a'));
    await pass(6 * minute);
    expect(await ask(pod('a'))).toBe('one');
    finishAsEnded();
    await flushTasks();
    store.tick();
    expect(await ask(pod('a'))).toBe('two');
  });

  test('of an answer that the cache refuses is given back', async () => {
    const { provider, readText: ask } = createCacheFixture({ maxBytes: 4 * 2_000 });
    provider.script(
      'db',
      leased('one', Date.now() + 60 * minute),
      leased('x'.repeat(2_000), Date.now() + 60 * minute),
    );
    expect(await ask(pod('a'))).toBe('one');
    expect(await ask(pod('b'))).toBe('failed LEASES_EXHAUSTED');
    expect(provider.releases).toMatchObject([{ pod: 'b' }]);
    expect(await ask(pod('a'))).toBe('one');
    expect(provider.calls).toHaveLength(2);
  });

  test('is not touched by a provider that can neither renew nor give back', async () => {
    const { cache: store, provider, advanceClock: pass } = createCacheFixture();
    const providerWithoutLeases = { ...provider, renew: undefined, release: undefined } as never;
    provider.script('db', leased('one', Date.now() + 30 * minute));
    const waiter = { signal: new AbortController().signal, deadline: Date.now() + minute };
    await store.read(providerWithoutLeases, [pod('a')], waiter);
    await pass(29 * minute);
    expect(provider.renewals).toEqual([]);
    expect(provider.releases).toEqual([]);
  });

  test('survives a provider that throws where it should reject', async () => {
    const {
      cache: store,
      provider,
      advanceClock: pass,
      advanceClockWithTraffic: passAmongOthers,
      count,
    } = createCacheFixture();
    const throwingProvider = {
      ...provider,
      release: () => {
        throw new Error('as scripted');
      },
    };
    provider.script('db', leased('one', Date.now() + 24 * 60 * minute));
    const waiter = { signal: new AbortController().signal, deadline: Date.now() + minute };
    await store.read(throwingProvider, [pod('a'), pod('b')], waiter);
    await pass(minute);
    await store.read(throwingProvider, [pod('a'), pod('b')], waiter);
    await passAmongOthers(12 * minute);
    expect(await count('keyferry_lease_events_total', { result: 'failed' })).toBe(2);
  });
});

describe('a lease whose pod asks only once', () => {
  const day = 24 * 60 * minute;

  test('is renewed no more after ten minutes, and left to its end: its pod may run without rotation; which is said once a class', async () => {
    const { provider, readText: ask, advanceClock: pass, count, warnings } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 12 * minute), leased('two', Date.now() + day));
    provider.scriptRenewals(renewedForOneHour);
    await ask(pod('a'));
    await ask(pod('b'));
    await pass(3 * 60 * minute);
    expect(provider.releases).toEqual([]);
    expect(provider.renewals.map(({ pod }) => pod)).toEqual(['a']);
    expect(await count('keyferry_lease_events_total', { result: 'lapsed' })).toBe(2);
    expect(warnings).toEqual([
      expect.objectContaining({
        msg: 'a leased secret was asked for once and never again: it is renewed no more',
        hint: expect.stringContaining('--pod-watch on'),
        namespace: 'team',
        ref: 'db',
      }),
    ]);
  });

  test('asks for it twice where it has two volumes', async () => {
    const { provider, readText: ask, advanceClock: pass } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + day));
    await ask(pod('a'));
    await pass(20 * second);
    await ask(pod('a'));
    await pass(11 * minute);
    expect(provider.releases).toEqual([]);
  });

  test('is not given back because its first mount took several attempts', async () => {
    const { cache: store, provider, advanceClock: pass } = createCacheFixture();
    const other = grantOf({ ref: 'other', pod: 'a', scope: 'pod' });
    provider.script('db', leased('one', Date.now() + day));
    provider.script('other', failed(), failed(), value('there'));
    for (let attempt = 0; attempt < 3; attempt++) {
      const waiter = { signal: new AbortController().signal, deadline: Date.now() + minute };
      await store.read(provider, [pod('a'), other], waiter);
      await pass(minute);
    }
    await pass(11 * minute);
    expect(provider.releases).toEqual([]);
  });

  test('is not given back because another pod of its account came later', async () => {
    const { provider, readText: ask, advanceClock: pass } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + day));
    await ask(grantOf({ pod: 'a' }));
    await pass(minute);
    await ask(grantOf({ pod: 'b' }));
    await pass(11 * minute);
    expect(provider.releases).toEqual([]);
  });
});

describe('where pods are watched', () => {
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

  test('a lease is renewed while its pod is there, though it never asks again', async () => {
    const { provider, readText: ask, advanceClock: pass } = createWatchedFixture();
    provider.script('db', leased('one', Date.now() + 60 * minute));
    provider.scriptRenewals(renewedForOneHour);
    await ask(pod('a'));
    await pass(4 * 60 * minute + minute);
    expect(provider.renewals).toHaveLength(6);
    expect(provider.releases).toEqual([]);
  });

  test('a lease is given back, once, when its pod is gone', async () => {
    const {
      cache: store,
      provider,
      readText: ask,
      advanceClock: pass,
      gone,
      count,
    } = createWatchedFixture();
    provider.script('db', leased('one', Date.now() + day), leased('two', Date.now() + day));
    await ask(pod('a'));
    await ask(pod('b'));
    gone.add('a');
    store.tick();
    await pass(minute);
    expect(provider.releases).toEqual([
      { lease: 'lease of one', principal: 'principal', pod: 'a' },
    ]);
    expect(await count('keyferry_lease_events_total', { result: 'released' })).toBe(1);
    expect(await ask(pod('b'))).toBe('two');
  });

  test('a lease that comes when its pod has gone is given back, too', async () => {
    const { provider, readText: ask, advanceClock: pass, gone } = createWatchedFixture();
    const lateResponse = deferredResponse();
    provider.script('db', lateResponse.response);
    const pendingRead = ask(pod('a'));
    await flushTasks();
    gone.add('a');
    await pass(10 * second);
    lateResponse.resolve(leased('one', Date.now() + day));
    expect(await pendingRead).toBe('one');
    await pass(10 * second);
    expect(provider.releases).toHaveLength(1);
  });

  test('one whose renewal is under way is given back, and not brought back by it', async () => {
    const {
      cache: store,
      provider,
      readText: ask,
      advanceClock: pass,
      gone,
    } = createWatchedFixture();
    let renew = (): void => undefined;
    provider.script('db', leased('one', Date.now() + 9 * minute), leased('two', Date.now() + day));
    provider.scriptRenewals(
      () =>
        new Promise((resolve) => {
          renew = () => resolve(renewedForOneHour());
        }),
    );
    await ask(pod('a'));
    await pass(6 * minute);
    expect(provider.renewals).toHaveLength(1);
    gone.add('a');
    store.tick();
    renew();
    await flushTasks();
    expect(provider.releases).toHaveLength(1);
    expect(await ask(pod('a'))).toBe('two');
  });

  test('what else a pod of its own has is forgotten with it, and what it shares stays', async () => {
    const { provider, readText: ask, advanceClock: pass, gone, count } = createWatchedFixture();
    provider.script('own', value('own'));
    provider.script('kv', value('kv', { shareable: true, immutable: true }));
    await ask(grantOf({ ref: 'kv', pod: 'a', scope: 'pod' }));
    const shared = await count('keyferry_cache_bytes');
    await ask(grantOf({ ref: 'own', pod: 'a', scope: 'pod' }));
    gone.add('a');
    await pass(10 * second);
    expect(await count('keyferry_cache_bytes')).toBe(shared);
    expect(await ask(grantOf({ ref: 'kv', pod: 'b', scope: 'pod' }))).toBe('kv');
    expect(provider.calls).toHaveLength(2);
  });

  test('the lease of an account outlives the pod that read it', async () => {
    const {
      provider,
      readText: ask,
      advanceClock: pass,
      advanceClockWithTraffic: passAmongOthers,
      gone,
    } = createWatchedFixture();
    provider.script('db', leased('one', Date.now() + day));
    await ask(grantOf({ pod: 'a' }));
    gone.add('a');
    await pass(5 * minute);
    for (let asked = 0; asked < 2; asked++) {
      expect(await ask(grantOf({ pod: 'b' }))).toBe('one');
      await pass(minute);
    }
    expect(provider.releases).toEqual([]);
    await passAmongOthers(11 * minute);
    expect(provider.releases).toHaveLength(1);
  });

  test('and the watch ends, requests tell again', async () => {
    const {
      provider,
      readText: ask,
      advanceClock: pass,
      advanceClockWithTraffic: passAmongOthers,
      unwatched,
    } = createWatchedFixture();
    provider.script('db', leased('one', Date.now() + day));
    await ask(pod('a'));
    await pass(60 * minute);
    await ask(pod('a'));
    unwatched.add('a');
    await passAmongOthers(9 * minute);
    expect(provider.releases).toEqual([]);
    await passAmongOthers(3 * minute);
    expect(provider.releases).toHaveLength(1);
  });
});

describe('the clock', () => {
  test.each([
    ['forward', 30],
    ['by a day', 24 * 60],
  ])(
    'that is set %s gives no lease of a running pod back, whoever asks first',
    async (_, minutes) => {
      const {
        provider,
        readText: ask,
        advanceClock: pass,
        advanceClockWithTraffic: passAmongOthers,
      } = createCacheFixture();
      provider.script('db', leased('one', Date.now() + 48 * 60 * minute));
      await ask(pod('a'));
      await passAmongOthers(minute);
      await ask(pod('a'));
      jest.setSystemTime(Date.now() + minutes * minute);
      await passAmongOthers(9 * minute);
      expect(provider.releases).toEqual([]);
      expect(await ask(pod('a'))).toBe('one');
      await pass(minute);
      await passAmongOthers(13 * minute);
      expect(provider.releases).toHaveLength(1);
    },
  );

  test('that is set back gives no lease of a running pod back, and one that is gone soon', async () => {
    const {
      provider,
      readText: ask,
      advanceClock: pass,
      advanceClockWithTraffic: passAmongOthers,
    } = createCacheFixture();
    provider.script('db', leased('one', Date.now() + 48 * 60 * minute), unchanged());
    provider.scriptRenewals(renewedForOneHour);
    await ask(pod('a'));
    await passAmongOthers(2 * minute);
    await ask(pod('a'));
    jest.setSystemTime(Date.now() - 60 * minute);
    await pass(11 * minute);
    expect(provider.releases).toEqual([]);
    await passAmongOthers(3 * minute);
    expect(provider.releases).toHaveLength(1);
  });

  test('that is set back has what was leased in the wrong future renewed at once, tries again soon, and goes by the right end', async () => {
    const {
      provider,
      readText: ask,
      advanceClock: pass,
    } = createCacheFixture({ presence: () => 'here' });
    const future = Date.now() + 24 * 60 * minute;
    jest.setSystemTime(future);
    provider.script('db', leased('one', future + 60 * minute));
    provider.scriptRenewals('STORE_UNAVAILABLE', renewedForOneHour);
    await ask(pod('a'));
    await pass(45 * minute);
    expect(provider.renewals.length).toBeGreaterThan(0);
    const before = provider.renewals.length;
    jest.setSystemTime(Date.now() - 24 * 60 * minute);
    await pass(10 * second);
    expect(provider.renewals).toHaveLength(before + 1);
    await pass(39 * minute);
    expect(provider.renewals).toHaveLength(before + 1);
    await pass(2 * minute);
    expect(provider.renewals).toHaveLength(before + 2);
  });

  test('forgets what has ended, and what nobody asked for within an hour', async () => {
    const { provider, readText: ask, advanceClock: pass, count } = createCacheFixture();
    provider.script('pinned', value('pinned', { immutable: true }));
    provider.script('ending', value('ending', { expiresAt: Date.now() + 20 * minute }));
    await ask(grantOf({ ref: 'pinned' }));
    const pinnedBytes = await count('keyferry_cache_bytes');
    await ask(grantOf({ ref: 'ending' }));
    provider.script('absent', absent());
    await ask(grantOf({ ref: 'absent' }));
    await pass(20 * minute);
    await ask(grantOf({ ref: 'pinned' }));
    await pass(59 * minute);
    expect(await count('keyferry_cache_bytes')).toBe(pinnedBytes);
    await pass(2 * minute);
    expect(await count('keyferry_cache_bytes')).toBe(0);
  });
});
