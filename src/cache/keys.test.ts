import { describe, expect, test } from '@jest/globals';
import {
  failed,
  grantOf,
  podGrantOf,
  deferredResponse,
  leased,
  value,
} from '../../test/fakes/scripted-provider.ts';
import {
  createCacheFixture,
  hour,
  minute,
  useFakeClock,
  second,
  flushTasks,
} from '../../test/fakes/cache-fixture.ts';
import { EntryKeys } from './keys.ts';

useFakeClock();

const pods = (size: number) =>
  Array.from({ length: size }, (_, index) => podGrantOf(`pod-${index}`));
const shareable = (text: string) => value(text, { shareable: true });

/** Responds with a new lease to each request. */
const numberedLeases = () => {
  let requestCount = 0;
  return () => leased(`${(requestCount += 1)}`, Date.now() + hour);
};

describe('a secret of pod scope', () => {
  test('gives 50 pods 50 leases, and each keeps its own', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', numberedLeases());
    const first = await Promise.all(pods(50).map((grant) => readText(grant)));
    expect(new Set(first).size).toBe(50);
    expect(await Promise.all(pods(50).map((grant) => readText(grant)))).toEqual(first);
    expect(provider.calls).toHaveLength(50);
  });

  test('is shared by two volumes of one pod', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', numberedLeases());
    expect(await Promise.all([readText(podGrantOf('a')), readText(podGrantOf('a'))])).toEqual([
      '1',
      '1',
    ]);
  });

  test('is shared within its principal after the first shareable result', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', shareable('one'), shareable('two'));
    expect(await readText(podGrantOf('a'))).toBe('one');
    expect(await readText(podGrantOf('b'))).toBe('one');
    expect(provider.calls).toHaveLength(1);
    expect(await readText(podGrantOf('c', { principal: 'other' }))).toBe('two');
    expect(await readText(podGrantOf('b'))).toBe('one');
  });

  test('takes one read for all once it is known to be shared', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    const heldResponse = deferredResponse();
    provider.script('db', shareable('one'), heldResponse.response);
    await readText(podGrantOf('a'));
    await advanceClock(30 * second);
    const pendingReads = pods(50).map((grant) => readText(grant));
    await flushTasks();
    heldResponse.resolve(shareable('two'));
    expect(new Set(await Promise.all(pendingReads))).toEqual(new Set(['two']));
    expect(provider.calls).toHaveLength(2);
  });

  test('is not shared by a result with a lease, even if the result is marked shareable', async () => {
    const { provider, readText } = createCacheFixture();
    const lease = { id: 'l', renewable: false, expiresAt: Date.now() + hour };
    provider.script(
      'db',
      value('one', { shareable: true, lease }),
      value('two', { shareable: true, lease }),
    );
    expect(await readText(podGrantOf('a'))).toBe('one');
    expect(await readText(podGrantOf('b'))).toBe('two');
  });

  test('is not shared by a result that is not marked shareable', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', value('one'), value('two'));
    expect(await readText(podGrantOf('a'))).toBe('one');
    expect(await readText(podGrantOf('b'))).toBe('two');
  });

  test('serves a shared read that ends unshareable only to the pod that started it', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    const heldResponse = deferredResponse();
    const furtherLeases = numberedLeases();
    provider.script('db', shareable('shared'), heldResponse.response, furtherLeases);
    await readText(podGrantOf('pod-0'));
    await advanceClock(30 * second);
    const pendingReads = pods(50).map((grant) => readText(grant));
    await flushTasks();
    expect(provider.calls).toHaveLength(2);
    heldResponse.resolve(leased('first', Date.now() + hour));
    const texts = await Promise.all(pendingReads);
    expect(texts[0]).toBe('first');
    expect(new Set(texts).size).toBe(50);
    expect(provider.calls).toHaveLength(51);
    expect(
      provider.calls.slice(2).every(({ urgency, known }) => urgency === 'first' && !known),
    ).toBe(true);
    // This remains so.
    expect(await Promise.all(pods(50).map((grant) => readText(grant)))).toEqual(texts);
    expect(provider.calls).toHaveLength(51);
  });

  test('serves no other pod when a shared read ends unshareable after its pod has left', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    const heldResponse = deferredResponse();
    provider.script('db', shareable('shared'), heldResponse.response, numberedLeases());
    await readText(podGrantOf('a'));
    await advanceClock(30 * second);
    const abortController = new AbortController();
    const abortedRead = readText(podGrantOf('a'), { signal: abortController.signal });
    const otherPodRead = readText(podGrantOf('b'));
    await flushTasks();
    abortController.abort(new Error('left'));
    await expect(abortedRead).rejects.toThrow('left');
    heldResponse.resolve(leased('for a', Date.now() + hour));
    expect(await otherPodRead).toBe('1');
    expect(await readText(podGrantOf('a'))).toBe('for a');
  });

  test('can become shared again', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('own'), value('own too'), shareable('shared'));
    await readText(podGrantOf('a'));
    await readText(podGrantOf('b'));
    await advanceClock(30 * second);
    expect(await readText(podGrantOf('a'))).toBe('shared');
    expect(await readText(podGrantOf('b'))).toBe('shared');
    expect(provider.calls).toHaveLength(3);
  });

  test('serves no pod the value of another one in an outage', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();

    provider.script('db', value('own'), failed());
    await readText(podGrantOf('a'));
    await advanceClock(minute);
    expect(await readText(podGrantOf('a'))).toBe('own');
    expect(await readText(podGrantOf('b'))).toBe('failed STORE_UNAVAILABLE');
  });
});

describe('scope principal', () => {
  test('lets one lease serve all pods of its account, and none of another', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', numberedLeases());
    const outcomes = await Promise.all(
      ['a', 'b', 'c'].map((name) => readText(grantOf({ pod: name }))),
    );
    expect(outcomes).toEqual(['1', '1', '1']);
    expect(await readText(grantOf({ pod: 'd' }))).toBe('1');
    expect(await readText(grantOf({ pod: 'a', principal: 'other' }))).toBe('2');
  });

  test('keeps the lease alive while any of them sends requests', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', numberedLeases());
    provider.scriptRenewals(() => ({ kind: 'renewed', expiresAt: Date.now() + hour }));
    await readText(grantOf({ pod: 'gone' }));
    for (let request = 0; request < 10; request++) {
      expect(await readText(grantOf({ pod: 'a' }))).toBe('1');
      await advanceClock(9 * minute);
    }
    expect(provider.renewals).toHaveLength(2);
    expect(provider.releases).toEqual([]);
  });
});

describe('keys', () => {
  test('differ by pod and principal, and forget shareable requests above their bound', () => {
    const keys = new EntryKeys({ max: 2 });
    const recordShareable = (ref: string) =>
      keys.recordShareability(grantOf({ ref, scope: 'pod' }), {
        bytes: new Uint8Array(),
        shareable: true,
      });
    const podKey = keys.entryKey(podGrantOf('a'));
    expect(keys.entryKey(podGrantOf('b'))).not.toBe(podKey);
    recordShareable('db');
    expect(keys.entryKey(podGrantOf('a'))).toBe(keys.entryKey(podGrantOf('b')));
    expect(keys.entryKey(podGrantOf('a', { principal: 'other' }))).not.toBe(
      keys.entryKey(podGrantOf('b')),
    );
    recordShareable('second');
    recordShareable('third');
    expect(keys.entryKey(podGrantOf('a'))).toBe(podKey);
  });
});
