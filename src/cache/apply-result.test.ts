import { describe, expect, jest, test } from '@jest/globals';
import {
  absent,
  failed,
  grantOf,
  podGrantOf,
  hang,
  deferredResponse,
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
  flushTasks,
} from '../../test/fakes/cache-fixture.ts';
import { Redacted } from '../core/redacted.ts';

useFakeClock();

const grant = grantOf({});

describe('a definite failure', () => {
  test.each([
    'ACCESS_DENIED',
    'OBJECT_NOT_FOUND',
    'OBJECT_DISABLED',
    'CREDENTIALS_REFUSED',
  ] as const)('%s drops the value at once: no outage brings it back', async (code) => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), failed(code), failed('STORE_UNAVAILABLE'));
    expect(await readText(grant)).toBe('one');
    await advanceClock(30 * second);
    expect(await readText(grant)).toBe(`failed ${code}`);
    expect(await readText(grant)).toBe('failed STORE_UNAVAILABLE');
  });

  test('also includes absent, which drops the value', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), absent(), failed('STORE_UNAVAILABLE'));
    await readText(grant);
    await advanceClock(30 * second);
    expect(await readText(grant)).toBe('absent OBJECT_NOT_FOUND');
    await advanceClock(30 * second);
    expect(await readText(grant)).toBe('failed STORE_UNAVAILABLE');
  });

  test('applies only to its own principal and ref', async () => {
    const { provider, readText } = createCacheFixture({ refreshIntervalMs: 0 });
    provider.script('db', value('one'), value('two'), failed('ACCESS_DENIED'), failed());
    provider.script('other', value('other'), failed());
    await readText(grantOf({ principal: 'a' }));
    await readText(grantOf({ principal: 'b' }));
    await readText(grantOf({ principal: 'a', ref: 'other' }));
    expect(await readText(grantOf({ principal: 'a' }))).toBe('failed ACCESS_DENIED');
    expect(await readText(grantOf({ principal: 'b' }))).toBe('two');
    expect(await readText(grantOf({ principal: 'a', ref: 'other' }))).toBe('other');
  });

  test.each(['STORE_UNAVAILABLE', 'STORE_THROTTLED', 'RATE_BUDGET_EXHAUSTED'] as const)(
    'does not include %s',
    async (code) => {
      const { provider, readText, advanceClock } = createCacheFixture();
      provider.script('db', value('one'), failed(code));
      await readText(grant);
      await advanceClock(30 * second);
      expect(await readText(grant)).toBe('one');
    },
  );

  test('does not include our own limits, which do not make a stale value serve either', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), failed('STORE_ANSWER_TOO_LARGE'), failed());
    await readText(grant);
    await advanceClock(30 * second);
    expect(await readText(grant)).toBe('failed STORE_ANSWER_TOO_LARGE');
    expect(await readText(grant)).toBe('one');
  });

  test('drops the value although no caller waits any more', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    const lateResponse = deferredResponse();
    provider.script('db', value('one'), lateResponse.response, failed());
    await readText(grant);
    await advanceClock(30 * second);
    const abortController = new AbortController();
    const abortedRead = readText(grant, { signal: abortController.signal });
    await flushTasks();
    abortController.abort(new Error('left'));
    await expect(abortedRead).rejects.toThrow('left');
    lateResponse.resolve(failed('ACCESS_DENIED'));
    await flushTasks();
    expect(await readText(grant)).toBe('failed STORE_UNAVAILABLE');
  });

  test('of a pod also drops the value that has become shared meanwhile', async () => {
    const { provider, readText } = createCacheFixture();
    const denial = deferredResponse();
    provider.script('db', denial.response, value('shared', { shareable: true }), failed());
    const first = readText(podGrantOf('a'));
    await flushTasks();
    expect(await readText(podGrantOf('b'))).toBe('shared');
    denial.resolve(failed('ACCESS_DENIED'));
    expect(await first).toBe('failed ACCESS_DENIED');
    expect(await readText(podGrantOf('a'))).toBe('failed STORE_UNAVAILABLE');
  });

  test('of a pod also drops the value from before its results became shared', async () => {
    const { provider, readText } = createCacheFixture();
    const shared = value('shared', { shareable: true });
    provider.script(
      'db',
      value('own', { immutable: true }),
      shared,
      failed('ACCESS_DENIED'),
      value('of b', { immutable: true }),
      failed(),
    );
    expect(await readText(podGrantOf('a'))).toBe('own');
    expect(await readText(podGrantOf('b'))).toBe('shared');
    await advanceTimers(30 * second);
    expect(await readText(podGrantOf('a'))).toBe('failed ACCESS_DENIED');
    // From here on nothing is shared, so pod a has its own key again.
    expect(await readText(podGrantOf('b'))).toBe('of b');
    expect(await readText(podGrantOf('a'))).toBe('failed STORE_UNAVAILABLE');
  });
});

describe('unchanged', () => {
  test('returns the cached value, with the version that the store now gives it', async () => {
    const { provider, read, advanceClock } = createCacheFixture();
    provider.script('db', value('one', { version: '1' }), unchanged({ version: '2' }));
    await read(grant);
    await advanceClock(30 * second);
    const outcome = await read(grant);
    expect(provider.calls[1]).toMatchObject({ known: { version: '1' }, urgency: 'refresh' });
    expect(outcome).toMatchObject({
      kind: 'value',
      value: { bytes: Buffer.from('one'), version: '2' },
    });
    await advanceClock(30 * second);
    await read(grant);
    expect(provider.calls[2]!.known).toEqual({ version: '2' });
  });

  test('renews the freshness for all workloads', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), unchanged(), failed());
    await readText(grant);
    await advanceClock(30 * second);
    await readText(grant);
    await advanceClock(29 * second);
    expect(await readText(grantOf({ pod: 'new' }))).toBe('one');
    expect(provider.calls).toHaveLength(2);
  });

  test('prolongs the life of a value that expires, and postpones the next read', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script(
      'db',
      value('one', { expiresAt: Date.now() + 9 * minute }),
      unchanged({ expiresAt: Date.now() + hour }),
    );
    await readText(grant);
    await advanceClock(6 * minute);
    await readText(grant);
    await advanceClock(35 * minute);
    expect(await readText(grant)).toBe('one');
    expect(provider.calls).toHaveLength(2);
    await advanceClock(2 * minute);
    await readText(grant);
    expect(provider.calls).toHaveLength(3);
  });

  test('does not renew the authorization: after 15 min it does not serve a new pod', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script(
      'db',
      value('one'),
      ...Array.from({ length: 31 }, () => unchanged()),
      value('two'),
    );
    for (let request = 0; request < 32; request++) {
      expect(await readText(grant)).toBe('one');
      await advanceClock(30 * second);
    }
    expect(await readText(grantOf({ pod: 'new' }))).toBe('two');
    expect(provider.calls.at(-1)).toMatchObject({ urgency: 'first' });
    expect(provider.calls.at(-1)!.known).toBeUndefined();
  });

  test('is not enough for a new pod that joined the read of an old pod', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    const confirmation = deferredResponse();
    provider.script(
      'db',
      value('one', { immutable: false, expiresAt: Date.now() + 30 * minute }),
      confirmation.response,
      value('two'),
    );
    await readText(grant);
    await advanceClock(20 * minute);
    const runningPodRead = readText(grant);
    const newPodRead = readText(grantOf({ pod: 'new' }));
    await flushTasks();
    expect(provider.calls).toHaveLength(2);
    confirmation.resolve(unchanged());
    expect(await runningPodRead).toBe('one');
    expect(await newPodRead).toBe('two');
    expect(provider.calls[2]!.known).toBeUndefined();
  });

  test('is not enough for a new pod if the 15 min pass while it waits', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    const confirmation = deferredResponse();
    provider.script('db', value('one'), confirmation.response, value('two'));
    await readText(grant);
    await advanceClock(15 * minute - second);
    const newPodRead = readText(grantOf({ pod: 'new' }));
    await advanceTimers(2 * second);
    confirmation.resolve(unchanged());
    expect(await newPodRead).toBe('two');
  });

  test('without a known version is an error of the provider, and serves nothing', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', unchanged());
    expect(await readText(grant)).toBe('failed INTERNAL');
  });

  test('does not restore a value that was denied during the read', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    const lateResponse = deferredResponse();
    const confirmation = deferredResponse();
    provider.script(
      'db',
      value('one'),
      lateResponse.response,
      confirmation.response,
      failed('ACCESS_DENIED'),
    );
    await readText(grant);
    await advanceClock(30 * second);
    const abortController = new AbortController();
    const abortedRead = readText(grant, { signal: abortController.signal });
    await flushTasks();
    abortController.abort(new Error('left'));
    await expect(abortedRead).rejects.toThrow('left');
    const pendingRead = readText(grant);
    await flushTasks();
    lateResponse.resolve(failed('ACCESS_DENIED'));
    await flushTasks();
    confirmation.resolve(unchanged());
    expect(await pendingRead).toBe('failed ACCESS_DENIED');
    expect(provider.calls).toHaveLength(4);
  });
});

describe('a result', () => {
  test('is as old as the moment when the rate limiter let its request go', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', async ({ onStart }) => {
      await new Promise((resolve) => setTimeout(resolve, 20 * second));
      onStart();
      await new Promise((resolve) => setTimeout(resolve, 10 * second));
      return value(`call ${provider.calls.length}`);
    });
    const pendingRead = readText(grant);
    await advanceTimers(30 * second);
    expect(await pendingRead).toBe('call 1');
    await advanceClock(19 * second);
    expect(await readText(grant)).toBe('call 1');
    await advanceClock(second);
    const nextRead = readText(grant);
    await advanceTimers(30 * second);
    expect(await nextRead).toBe('call 2');
  });

  test('that is an error of the store is not cached', async () => {
    const { provider, readText, count } = createCacheFixture();
    provider.script('db', failed(), hang);
    await readText(grant);
    expect(await count('keyferry_cache_bytes')).toBe(0);
  });

  test('with a lease replaces the one before', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script(
      'db',
      leased('one', Date.now() + 9 * minute, false),
      leased('two', Date.now() + hour, false),
    );
    await readText(podGrantOf('a'));
    await advanceClock(6 * minute);
    expect(await readText(podGrantOf('a'))).toBe('two');
    expect(provider.calls[1]!.known).toMatchObject({
      version: 'one',
      lease: { id: 'lease of one' },
    });
    // The pod uses the first one until it has read its new file, so it is left to expire.
    await advanceClock(9 * minute);
    expect(provider.releases).toEqual([]);
  });
});

test('an entry does not keep the tokens and secrets of the pod that requested it', async () => {
  const { provider, readText, advanceClock, advanceClockWithTraffic } = createCacheFixture();
  provider.script('db', leased('one', Date.now() + hour));
  const podGrant = podGrantOf('a');
  const podSecrets = new Map([['key', new Redacted('x')]]);
  const tokens = new Map([['aud', { token: new Redacted('x') }]]);
  await readText({ ...podGrant, workload: { ...podGrant.workload, secrets: podSecrets, tokens } });
  const release = jest.spyOn(provider, 'release');
  await advanceClock(minute);
  await readText(podGrant);
  await advanceClockWithTraffic(13 * minute);
  const [releasedGrant] = release.mock.calls[0]!;
  expect(releasedGrant).toMatchObject({
    ref: podGrant.ref,
    principal: podGrant.principal,
    scope: 'pod',
  });
  expect([releasedGrant.workload.secrets.size, releasedGrant.workload.tokens.size]).toEqual([0, 0]);
});
