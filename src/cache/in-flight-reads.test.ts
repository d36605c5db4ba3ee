import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  createScriptedProvider,
  failed,
  grantOf,
  hang,
  deferredResponse,
  leased,
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
import { SecretError } from '../core/errors.ts';
import { InFlightReads } from './in-flight-reads.ts';

useFakeClock();

const cancelled = new SecretError('CANCELLED', 'left');
const createReaders = (
  size: number,
  grantFor = (index: number) => grantOf({ pod: `pod-${index}` }),
) =>
  Array.from({ length: size }, (_, index) => ({
    grant: grantFor(index),
    abortController: new AbortController(),
  }));

const unhandled: unknown[] = [];
const recordUnhandled = (reason: unknown): unknown => unhandled.push(reason);
beforeEach(() => void process.on('unhandledRejection', recordUnhandled));
afterEach(async () => {
  await flushTasks();
  process.off('unhandledRejection', recordUnhandled);
  expect(unhandled).toEqual([]);
});

describe('readers of one secret', () => {
  test('200 at once are one question', async () => {
    const { provider, readText } = createCacheFixture();
    const heldResponse = deferredResponse();
    provider.script('db', heldResponse.response);
    const pendingRead = createReaders(200).map(({ grant }) => readText(grant));
    await flushTasks();
    heldResponse.resolve(value('one'));
    expect(new Set(await Promise.all(pendingRead))).toEqual(new Set(['one']));
    expect(provider.calls).toHaveLength(1);
  });

  test('the first of 200 leaves: 199 are served by the one question', async () => {
    const { provider, readText } = createCacheFixture();
    const heldResponse = deferredResponse();
    provider.script('db', heldResponse.response);
    const readers = createReaders(200);
    const pendingRead = readers.map(({ grant, abortController }) =>
      readText(grant, { signal: abortController.signal }),
    );
    await flushTasks();
    readers[0]!.abortController.abort(cancelled);
    await expect(pendingRead[0]).rejects.toBe(cancelled);
    expect(provider.calls[0]!.signal.aborted).toBe(false);
    heldResponse.resolve(value('one'));
    expect(new Set(await Promise.all(pendingRead.slice(1)))).toEqual(new Set(['one']));
    expect(provider.calls).toHaveLength(1);
  });

  test("all leave: the question's signal fires, and each has its own reason", async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', hang);
    const readers = createReaders(200);
    const pendingRead = readers.map(({ grant, abortController }) =>
      readText(grant, { signal: abortController.signal }),
    );
    await flushTasks();
    const reasons = readers.map((_, index) => new SecretError('CANCELLED', `reader ${index}`));
    readers.forEach(({ abortController }, index) => abortController.abort(reasons[index]));
    const settled = await Promise.allSettled(pendingRead);
    expect(settled.map((outcome) => (outcome as PromiseRejectedResult).reason as unknown)).toEqual(
      reasons,
    );
    expect(provider.calls[0]!.signal.aborted).toBe(true);
  });

  test('share a failure too, and nobody who comes later does', async () => {
    const { provider, readText } = createCacheFixture();
    const heldResponse = deferredResponse();
    provider.script('db', heldResponse.response, value('one'));
    const pendingRead = createReaders(20).map(({ grant }) => readText(grant));
    await flushTasks();
    heldResponse.resolve(failed('STORE_UNAVAILABLE'));
    expect(new Set(await Promise.all(pendingRead))).toEqual(new Set(['failed STORE_UNAVAILABLE']));
    expect(await readText(grantOf({}))).toBe('one');
  });

  test('of another principal, ref, version or body ask for themselves', async () => {
    const { provider, readText } = createCacheFixture();
    const heldResponse = deferredResponse();
    provider.script('db', heldResponse.response);
    const ref = { service: 'kms', name: 'db' };
    const grants = [
      grantOf({}),
      grantOf({ principal: 'other' }),
      ...['region', 'endpoint', 'role', 'version', 'stage', 'body'].map((field) =>
        grantOf({ ref: { ...ref, [field]: 'x' } }),
      ),
      grantOf({ ref: { ...ref, method: 'POST' } }),
      grantOf({ ref: { ...ref, service: 'oos' } }),
    ];
    const pendingRead = grants.map((grant) => readText(grant));
    await flushTasks();
    expect(provider.calls).toHaveLength(grants.length);
    grants.forEach((_, index) => heldResponse.resolve(value(`${index}`)));
    expect(await Promise.all(pendingRead)).toEqual(grants.map((_, index) => `${index}`));
    // And what they were told is kept apart.
    expect(await Promise.all(grants.map((grant) => readText(grant)))).toEqual(
      grants.map((_, index) => `${index}`),
    );
  });

  test('who leave at once ask nothing that stays', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', hang, value('one'));
    await expect(readText(grantOf({}), { signal: AbortSignal.abort(cancelled) })).rejects.toBe(
      cancelled,
    );
    await flushTasks();
    expect(provider.calls.every(({ signal }) => signal.aborted)).toBe(true);
  });
});

describe('an answer that comes when nobody waits any more', () => {
  test('is not filed, and its lease is given back', async () => {
    const { provider, readText, count } = createCacheFixture();
    const lateResponse = deferredResponse();
    provider.script('db', lateResponse.response, value('two'));
    const abortController = new AbortController();
    const abortedRead = readText(grantOf({}), { signal: abortController.signal });
    await flushTasks();
    abortController.abort(cancelled);
    await expect(abortedRead).rejects.toBe(cancelled);
    lateResponse.resolve(leased('one', Date.now() + minute));
    await flushTasks();
    expect(await count('keyferry_cache_bytes')).toBe(0);
    expect(provider.releases).toMatchObject([{ lease: 'lease of one' }]);
    expect(await readText(grantOf({}))).toBe('two');
  });

  test('does not take the place of the answer to the next question', async () => {
    const { provider, readText } = createCacheFixture();
    const lateResponse = deferredResponse();
    provider.script('db', lateResponse.response, value('two'));
    const abortController = new AbortController();
    const abortedRead = readText(grantOf({}), { signal: abortController.signal });
    await flushTasks();
    abortController.abort(cancelled);
    await expect(abortedRead).rejects.toBe(cancelled);
    expect(await readText(grantOf({}))).toBe('two');
    lateResponse.resolve(value('one'));
    await flushTasks();
    expect(await readText(grantOf({}))).toBe('two');
  });
});

describe('a question', () => {
  test('has 30 s from when its budget lets it go, however patient its readers are', async () => {
    const { provider, readText } = createCacheFixture();
    let start = (): void => undefined;
    provider.script('db', ({ onStart }) => {
      start = onStart;
      return new Promise(() => undefined);
    });
    const pendingRead = readText(grantOf({}));
    await advanceTimers(60 * second);
    expect(provider.calls[0]!.signal.aborted).toBe(false);
    start();
    await advanceTimers(30 * second - 1);
    expect(provider.calls[0]!.signal.aborted).toBe(false);
    await advanceTimers(1);
    expect(await pendingRead).toBe('failed STORE_TIMEOUT');
    expect(provider.calls[0]!.signal.aborted).toBe(true);
  });

  test('has no more when it is let go again, as for a second attempt', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', async ({ onStart }) => {
      onStart();
      await new Promise((resolve) => setTimeout(resolve, 20 * second));
      onStart();
      return new Promise(() => undefined);
    });
    const pendingRead = readText(grantOf({}));
    await advanceTimers(30 * second);
    expect(await pendingRead).toBe('failed STORE_TIMEOUT');
  });

  test('that is let go when it is over leaves nothing behind', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', value('one'));
    await readText(grantOf({}));
    provider.calls[0]!.onStart();
    await advanceTimers(30 * second);
    expect(provider.calls[0]!.signal.aborted).toBe(false);
  });

  test('that took too long is an outage: the last good value serves', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), hang);
    await readText(grantOf({}));
    await advanceClock(30 * second);
    const pendingRead = readText(grantOf({}));
    await advanceTimers(30 * second);
    expect(await pendingRead).toBe('one');
  });

  test('that took too long for the provider to heed: its late lease is given back', async () => {
    const { provider, readText } = createCacheFixture();
    const lateResponse = deferredResponse();
    provider.script('db', lateResponse.response);
    const pendingRead = readText(grantOf({}));
    await advanceTimers(30 * second);
    expect(await pendingRead).toBe('failed STORE_TIMEOUT');
    lateResponse.resolve(leased('one', Date.now() + minute));
    await flushTasks();
    expect(provider.releases).toMatchObject([{ lease: 'lease of one' }]);
  });

  test('that is refused its budget for two minutes ends', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', () => new Promise(() => undefined));
    const pendingRead = readText(grantOf({}), { patience: 10 * minute });
    await advanceTimers(2 * minute);
    expect(await pendingRead).toBe('failed STORE_TIMEOUT');
  });

  test('is not the one that was abandoned: who comes then asks anew', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', () => new Promise(() => undefined), value('two'));
    const abortController = new AbortController();
    const abortedRead = readText(grantOf({}), { signal: abortController.signal });
    await flushTasks();
    abortController.abort(cancelled);
    await expect(abortedRead).rejects.toBe(cancelled);
    expect(await readText(grantOf({}))).toBe('two');
  });

  test('is not joined from the very moment in which it is abandoned', async () => {
    const inFlightReads = new InFlightReads({
      fetchBatched: () => new Promise(() => undefined),
      now: () => Date.now(),
      onLateResult: () => undefined,
    });
    const request = {
      provider: createScriptedProvider(),
      grant: grantOf({}),
      urgency: 'first',
    } as const;
    const inFlightRead = inFlightReads.start('key', request, (result) => result);
    const abortController = new AbortController();
    const found = inFlightRead.join(abortController.signal).catch(() => inFlightReads.find('key'));
    expect(inFlightReads.find('key')).toBe(inFlightRead);
    abortController.abort(cancelled);
    expect(await found).toBeUndefined();
  });
});
