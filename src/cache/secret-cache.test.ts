import { describe, expect, test } from '@jest/globals';
import {
  absent,
  type FetchCall,
  failed,
  grantOf,
  hang,
  value,
} from '../../test/fakes/scripted-provider.ts';
import {
  advanceTimers,
  createCacheFixture,
  minute,
  useFakeClock,
  second,
  flushTasks,
  formatOutcome,
} from '../../test/fakes/cache-fixture.ts';
import { SecretError } from '../core/errors.ts';
import type { FetchResult, Provider } from '../core/provider.ts';

useFakeClock();

const cancelled = new SecretError('CANCELLED', 'left');
const waiter = () => ({ signal: new AbortController().signal, deadline: Date.now() + minute });

describe('a read', () => {
  test('returns the outcomes in the order of the grants, whatever each of them is', async () => {
    const { cache, provider } = createCacheFixture();
    provider.script('slow', async () => {
      await new Promise((resolve) => setTimeout(resolve, second));
      return value('slow');
    });
    provider.script('quick', value('quick'));
    provider.script('denied', failed('ACCESS_DENIED'));
    const names = ['slow', 'absent', 'quick', 'denied', 'slow'];
    const grants = names.map((ref) => grantOf({ ref }));
    const pendingRead = cache.read(provider, grants, waiter());
    await advanceTimers(second);
    const outcomes = await pendingRead;
    expect(outcomes.map(formatOutcome)).toEqual([
      'slow',
      'absent OBJECT_NOT_FOUND',
      'quick',
      'failed ACCESS_DENIED',
      'slow',
    ]);
    expect(outcomes.map(({ ref }) => ref)).toEqual(grants.map(({ ref }) => ref));
  });

  test('requests all secrets of a mount in one batch, and each of them once', async () => {
    const { cache, provider } = createCacheFixture();
    const grants = ['a', 'b', 'c', 'a'].map((ref) => grantOf({ ref }));
    await cache.read(provider, grants, waiter());
    expect(provider.calls.map(({ name, batch }) => [name, batch])).toEqual([
      ['a', 0],
      ['b', 0],
      ['c', 0],
    ]);
  });

  test('without grants sends no request', async () => {
    const { cache, provider } = createCacheFixture();
    expect(await cache.read(provider, [], waiter())).toEqual([]);
    expect(provider.calls).toEqual([]);
  });

  test("rejects with its signal's reason as soon as it fires, and leaves no read in flight", async () => {
    const { cache, provider } = createCacheFixture();
    provider.script('hung', hang);
    provider.script('also', hang);
    const abortController = new AbortController();
    const pendingRead = cache.read(provider, [grantOf({ ref: 'hung' }), grantOf({ ref: 'also' })], {
      ...waiter(),
      signal: abortController.signal,
    });
    await flushTasks();
    abortController.abort(cancelled);
    await expect(pendingRead).rejects.toBe(cancelled);
    expect(provider.calls.map(({ signal }) => signal.aborted)).toEqual([true, true]);
  });

  test('counts a grant as delivered once its whole volume was read', async () => {
    const { cache, provider, readText } = createCacheFixture();
    provider.script('db', value('one'));
    const grant = grantOf({});
    expect(cache.hasDelivered(grant)).toBe(false);
    await readText(grant);
    expect(cache.hasDelivered(grant)).toBe(true);
    expect(cache.hasDelivered(grantOf({ pod: 'other' }))).toBe(false);
    expect(cache.hasDelivered(grantOf({ principal: 'other' }))).toBe(false);
    expect(cache.hasDelivered(grantOf({ ref: 'other' }))).toBe(false);
  });
});

describe('a read with `refresh`', () => {
  test('asks the store for a fresh value too, with the version that is cached', async () => {
    const { cache, provider, readText } = createCacheFixture();
    provider.script('db', value('one'), value('two'));
    const grant = grantOf({});
    expect(await readText(grant)).toBe('one');
    expect(await readText(grant)).toBe('one');
    const [outcome] = await cache.read(provider, [grant], { ...waiter(), refresh: true });
    expect(formatOutcome(outcome!)).toBe('two');
    expect(await readText(grant)).toBe('two');
    expect(provider.calls).toHaveLength(2);
  });

  test('is served no last good value, which others still are', async () => {
    const { cache, provider, readText } = createCacheFixture();
    provider.script('db', value('one'), failed('STORE_UNAVAILABLE'));
    const grant = grantOf({});
    await readText(grant);
    const pendingRead = cache.read(provider, [grant], { ...waiter(), refresh: true });
    await advanceTimers(minute);
    expect((await pendingRead).map(formatOutcome)).toEqual(['failed STORE_UNAVAILABLE']);
    expect(await readText(grant)).toBe('one');
  });
});

describe('a provider with a defect', () => {
  const faultyFetches: [string, (provider: Provider) => Provider['fetch'], string][] = [
    [
      'throws',
      () => () => {
        throw new Error('as scripted');
      },
      'failed INTERNAL',
    ],
    [
      'rejects',
      () => (requests) => requests.map(() => Promise.reject(new Error('as scripted'))),
      'failed INTERNAL',
    ],
    [
      'rejects with a SecretError',
      () => (requests) =>
        requests.map(() => Promise.reject(new SecretError('ACCESS_DENIED', 'as scripted'))),
      'failed ACCESS_DENIED',
    ],
    ['returns nothing', () => () => [], 'failed INTERNAL'],
  ];
  test.each(faultyFetches)(
    'that %s fails only its own reads, and gets the next request',
    async (_, fetch, expected) => {
      const { cache, provider } = createCacheFixture();
      provider.script('a', value('one'));
      provider.script('b', value('two'));
      const grants = [grantOf({ ref: 'a' }), grantOf({ ref: 'b' })];
      const faultyProvider = { ...provider, fetch: fetch(provider) };
      expect((await cache.read(faultyProvider, grants, waiter())).map(formatOutcome)).toEqual([
        expected,
        expected,
      ]);
      expect((await cache.read(provider, grants, waiter())).map(formatOutcome)).toEqual([
        'one',
        'two',
      ]);
    },
  );

  test('that returns too few results fails the other requests', async () => {
    const { cache, provider } = createCacheFixture();
    provider.script('a', value('one'));
    const incompleteProvider: Provider = {
      ...provider,
      fetch: (requests) => provider.fetch(requests.slice(0, 1)),
    };
    const outcomes = await cache.read(
      incompleteProvider,
      [grantOf({ ref: 'a' }), grantOf({ ref: 'b' })],
      waiter(),
    );
    expect(outcomes.map(formatOutcome)).toEqual(['one', 'failed INTERNAL']);
  });

  test('that throws becomes an INTERNAL error with the cause for the log', async () => {
    const { cache, provider } = createCacheFixture();
    const cause = new Error('secret detail');
    const faultyProvider: Provider = { ...provider, fetch: () => [Promise.reject(cause)] };
    const [outcome] = await cache.read(faultyProvider, [grantOf({})], waiter());
    expect(outcome).toMatchObject({ kind: 'failed', error: { cause } });
    expect((outcome as { error: SecretError }).error.summary).not.toContain('secret detail');
  });
});

describe('fallbacks', () => {
  const fallback = (ref: string, principal = 'principal') => grantOf({ ref, principal });
  const withFallbacks = grantOf({
    fallbacks: [fallback('second', 'second'), fallback('third', 'third')],
  });
  const calledNames = (provider: { calls: readonly { name: string }[] }) =>
    provider.calls.map(({ name }) => name);

  test('are not read while the primary responds', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', value('one'));
    expect(await readText(withFallbacks)).toBe('one');
    expect(calledNames(provider)).toEqual(['db']);
  });

  test('are read in order in an outage, each with its own principal', async () => {
    const { provider, read } = createCacheFixture();
    provider.script('db', failed());
    provider.script('second', failed('STORE_THROTTLED'));
    provider.script('third', value('three'));
    const outcome = await read(withFallbacks);
    expect(formatOutcome(outcome)).toBe('three');
    expect(outcome).toMatchObject({ ref: { name: 'db' }, served: { name: 'third' } });
    expect(provider.calls.map(({ name, principal }) => [name, principal])).toEqual([
      ['db', 'principal'],
      ['second', 'second'],
      ['third', 'third'],
    ]);
  });

  test.each([
    ['a denial', failed('ACCESS_DENIED'), 'failed ACCESS_DENIED'],
    ['absence', absent(), 'absent OBJECT_NOT_FOUND'],
    ['an invalid request', failed('INVALID_REQUEST'), 'failed INVALID_REQUEST'],
    ['one of our limits', failed('STORE_ANSWER_TOO_LARGE'), 'failed STORE_ANSWER_TOO_LARGE'],
  ])('are not read after %s', async (_, response, expected) => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', response);
    provider.script('second', value('two'));
    expect(await readText(withFallbacks)).toBe(expected);
    expect(calledNames(provider)).toEqual(['db']);
  });

  test.each([
    ['has no credentials', failed('CREDENTIALS_REFUSED')],
    ['is denied', failed('ACCESS_DENIED')],
    ['does not have the secret', absent()],
    ['fails with an unexpected error', failed('INTERNAL')],
  ])('do not affect the read when one of them %s', async (_, response) => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', failed());
    provider.script('second', response);
    provider.script('third', value('three'));
    expect(await readText(withFallbacks)).toBe('three');
  });

  test("report the primary's error when all fail, and the next request starts with the primary", async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', failed('STORE_UNAVAILABLE'), value('one'));
    provider.script('second', failed('CREDENTIALS_REFUSED'));
    provider.script('third', failed('STORE_THROTTLED'));
    expect(await readText(withFallbacks)).toBe('failed STORE_UNAVAILABLE');
    expect(await readText(withFallbacks)).toBe('one');
  });

  test.each([
    ['denied', failed('ACCESS_DENIED'), 'ACCESS_DENIED'],
    ['absent', absent(), 'OBJECT_NOT_FOUND'],
  ])('are named with the outage if one is %s, and in the log', async (_, response, code) => {
    const { provider, read, warnings } = createCacheFixture();
    provider.script('db', failed());
    provider.script('second', response);
    provider.script('third', failed('STORE_THROTTLED'));
    const outcome = await read(withFallbacks);
    expect(outcome).toMatchObject({
      kind: 'failed',
      error: {
        code: 'STORE_UNAVAILABLE',
        message: expect.stringMatching(RegExp(`; and the fallback fails with ${code}: `)),
      },
    });
    expect(warnings).toMatchObject([{ msg: 'a fallback cannot be used', object: 'second', code }]);
  });

  test('that refuse are in the log also while the last good value serves', async () => {
    const { provider, readText, warnings, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), failed());
    provider.script('second', failed('ACCESS_DENIED'));
    provider.script('third', failed());
    await readText(withFallbacks);
    await advanceClock(30 * second);
    expect(await readText(withFallbacks)).toBe('one');
    expect(warnings).toMatchObject([{ object: 'second', code: 'ACCESS_DENIED' }]);
  });

  test('get half of the remaining time each, except the last one', async () => {
    const { provider, readText } = createCacheFixture();
    const callStarts: [string, number][] = [];
    const start = Date.now();
    for (const name of ['db', 'second', 'third']) {
      provider.script(name, (call) => {
        callStarts.push([name, Date.now() - start]);
        return hang(call);
      });
    }
    const pendingRead = readText(withFallbacks, { timeoutMs: 40 * second });
    await advanceTimers(40 * second);
    expect(callStarts).toEqual([
      ['db', 0],
      ['second', 20 * second],
      ['third', 30 * second],
    ]);
    // The last one has all the remaining time: here its own 30 s, since no signal has fired.
    await advanceTimers(20 * second);
    expect(await pendingRead).toBe('failed STORE_TIMEOUT');
    expect(provider.calls.every(({ signal }) => signal.aborted)).toBe(true);
  });

  test('are not read after the reader has left', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', hang);
    const abortController = new AbortController();
    const pendingRead = readText(withFallbacks, { signal: abortController.signal });
    await flushTasks();
    abortController.abort(cancelled);
    await expect(pendingRead).rejects.toBe(cancelled);
    await flushTasks();
    expect(calledNames(provider)).toEqual(['db']);
  });

  test('come before the last good value of the primary', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), failed());
    provider.script('second', value('two'), failed());
    provider.script('third', failed());
    await readText(withFallbacks);
    await advanceClock(30 * second);
    expect(await readText(withFallbacks)).toBe('two');
    await advanceClock(30 * second);
    expect(await readText(withFallbacks)).toBe('one');
    expect(calledNames(provider)).toEqual(['db', 'db', 'second', 'db', 'second', 'third']);
  });

  test("are not cached under the primary's key: they serve no grant without fallbacks", async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', failed());
    provider.script('second', value('two'));
    expect(await readText(withFallbacks)).toBe('two');
    expect(await readText(grantOf({ pod: 'other' }))).toBe('failed STORE_UNAVAILABLE');
  });

  test('are cached under their own key, and the primary is read first each time', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', failed(), failed(), value('one'));
    provider.script('second', value('two'));
    expect(await readText(withFallbacks)).toBe('two');
    expect(await readText(withFallbacks)).toBe('two');
    expect(await readText(withFallbacks)).toBe('one');
    expect(calledNames(provider)).toEqual(['db', 'second', 'db', 'db']);
  });

  test('count as delivered to the pod; for the primary the pod is still new', async () => {
    const { cache, provider, readText, advanceClock } = createCacheFixture({
      refreshIntervalMs: 60 * minute,
    });
    provider.script('db', value('one'), failed(), value('two'));
    provider.script('second', value('fallback'));
    await readText(grantOf({ pod: 'other' }));
    await advanceClock(16 * minute);
    expect(await readText(withFallbacks)).toBe('fallback');
    expect(cache.hasDelivered(withFallbacks)).toBe(true);
    expect(await readText(withFallbacks)).toBe('two');
    expect(provider.calls.at(-1)!.known).toBeUndefined();
  });

  test('drop their cached value when they are denied', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', failed());
    provider.script('second', value('two'), failed('ACCESS_DENIED'), failed());
    provider.script('third', failed());
    await readText(withFallbacks);
    await advanceClock(30 * second);
    expect(await readText(withFallbacks)).toBe('failed STORE_UNAVAILABLE');
    expect(await readText(fallback('second', 'second'))).toBe('failed STORE_UNAVAILABLE');
  });
});

describe('the patience of a read', () => {
  /** Fails, and records how much patience each read had. */
  function createPatienceFixture(options: { readonly patienceMs?: number } = {}) {
    const fixture = createCacheFixture({ patienceMs: 20 * second, ...options });
    const patienceMs: [string, number | undefined][] = [];
    const failing = (call: FetchCall): FetchResult => {
      patienceMs.push([call.name, call.patience?.()]);
      return failed();
    };
    for (const name of ['db', 'second', 'third']) fixture.provider.script(name, failing);
    return { ...fixture, failing, patienceMs };
  }

  test('is whole for a mount without a cached value', async () => {
    const { readText, patienceMs } = createPatienceFixture();
    expect(await readText(grantOf({}))).toBe('failed STORE_UNAVAILABLE');
    expect(patienceMs).toEqual([['db', 20 * second]]);
  });

  test('is nothing where a cached value can serve, also to a new pod', async () => {
    const { provider, readText, advanceClock, failing, patienceMs } = createPatienceFixture();
    provider.script('db', value('one'), failing);
    await readText(grantOf({}));
    await advanceClock(30 * second);
    expect(await readText(grantOf({}))).toBe('one');
    expect(await readText(grantOf({ pod: 'new' }))).toBe('one');
    expect(patienceMs.map(([, ms]) => ms)).toEqual(patienceMs.map(() => 0));
  });

  test('ends before the deadline of the mount, so that the mount shows the cause', async () => {
    const { readText, patienceMs } = createPatienceFixture();
    await readText(grantOf({}), { timeoutMs: 8 * second });
    await readText(grantOf({}), { timeoutMs: second / 2 });
    expect(patienceMs).toEqual([
      ['db', 7 * second],
      ['db', 0],
    ]);
  });

  test('is for the last fallback: the attempts before it are quick', async () => {
    const { readText, patienceMs } = createPatienceFixture();
    const fallbacks = [grantOf({ ref: 'second' }), grantOf({ ref: 'third' })];
    await readText(grantOf({ fallbacks }));
    expect(patienceMs).toEqual([
      ['db', 0],
      ['second', 0],
      ['third', 20 * second],
    ]);
  });

  test('of one caller counts when it joined a read that had less: it starts its own', async () => {
    const { provider, readText, advanceClock } = createCacheFixture({ patienceMs: 20 * second });
    // Each read lasts as long as its patience, as a provider does while a store is away.
    const away = async (call: FetchCall): Promise<FetchResult> => {
      await new Promise((resolve) => setTimeout(resolve, call.patience?.()));
      return failed();
    };
    provider.script('db', away, away, value('back'));
    const first = readText(grantOf({}), { timeoutMs: 6 * second });
    const later = readText(grantOf({ pod: 'second' }), { timeoutMs: 11 * second });
    const third = readText(grantOf({ pod: 'third' }));
    await advanceClock(20 * second);
    expect(await Promise.all([first, later, third])).toEqual([
      'failed STORE_UNAVAILABLE',
      'failed STORE_UNAVAILABLE',
      'back',
    ]);
    expect(provider.calls).toHaveLength(3);
  });

  test('does not repeat a failure for the callers that joined it: 200 mounts are one read', async () => {
    const { provider, readText } = createCacheFixture({ patienceMs: 20 * second });
    provider.script('db', failed('STORE_ANSWER_INVALID'));
    const texts = await Promise.all(
      Array.from({ length: 200 }, (_, pod) => readText(grantOf({ pod: `pod-${pod}` }))),
    );
    expect(new Set(texts)).toEqual(new Set(['failed STORE_ANSWER_INVALID']));
    expect(provider.calls).toHaveLength(1);
  });
});
