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

const firstRead = () =>
  ({ provider: createScriptedProvider(), grant: grantOf({}), urgency: 'first' }) as const;

const unhandled: unknown[] = [];
const recordUnhandled = (reason: unknown): unknown => unhandled.push(reason);
beforeEach(() => void process.on('unhandledRejection', recordUnhandled));
afterEach(async () => {
  await flushTasks();
  process.off('unhandledRejection', recordUnhandled);
  expect(unhandled).toEqual([]);
});

describe('readers of one secret', () => {
  test('share one read when 200 come at once', async () => {
    const { provider, readText } = createCacheFixture();
    const heldResponse = deferredResponse();
    provider.script('db', heldResponse.response);
    const pendingRead = createReaders(200).map(({ grant }) => readText(grant));
    await flushTasks();
    heldResponse.resolve(value('one'));
    expect(new Set(await Promise.all(pendingRead))).toEqual(new Set(['one']));
    expect(provider.calls).toHaveLength(1);
  });

  test('share one read when the first of 200 leaves: 199 get its result', async () => {
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

  test('abort the read when all leave, each with the reason of its own signal', async () => {
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

  test('share a failure, too, but not with later readers', async () => {
    const { provider, readText } = createCacheFixture();
    const heldResponse = deferredResponse();
    provider.script('db', heldResponse.response, value('one'));
    const pendingRead = createReaders(20).map(({ grant }) => readText(grant));
    await flushTasks();
    heldResponse.resolve(failed('STORE_UNAVAILABLE'));
    expect(new Set(await Promise.all(pendingRead))).toEqual(new Set(['failed STORE_UNAVAILABLE']));
    expect(await readText(grantOf({}))).toBe('one');
  });

  test('do not share a read for another principal, ref, version or body', async () => {
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
    // Their results are cached separately, too.
    expect(await Promise.all(grants.map((grant) => readText(grant)))).toEqual(
      grants.map((_, index) => `${index}`),
    );
  });

  test('leave no state behind when they leave at once', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', hang, value('one'));
    await expect(readText(grantOf({}), { signal: AbortSignal.abort(cancelled) })).rejects.toBe(
      cancelled,
    );
    await flushTasks();
    expect(provider.calls.every(({ signal }) => signal.aborted)).toBe(true);
  });
});

describe('a result that comes after the last reader has left', () => {
  test('is not cached, and its lease is released', async () => {
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

  test('does not replace the result of the next read', async () => {
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

describe('a read', () => {
  test('has 30 s from when the rate limiter lets it go, however long its readers wait', async () => {
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

  test('has no more time when it is let go again, as for a second attempt', async () => {
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

  test('that is let go after its end leaves no timer behind', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', value('one'));
    await readText(grantOf({}));
    provider.calls[0]!.onStart();
    await advanceTimers(30 * second);
    expect(provider.calls[0]!.signal.aborted).toBe(false);
  });

  test('that takes too long is an outage: the last good value serves', async () => {
    const { provider, readText, advanceClock } = createCacheFixture();
    provider.script('db', value('one'), hang);
    await readText(grantOf({}));
    await advanceClock(30 * second);
    const pendingRead = readText(grantOf({}));
    await advanceTimers(30 * second);
    expect(await pendingRead).toBe('one');
  });

  test('that times out, but whose provider still returns a lease, releases the late lease', async () => {
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

  test('that the rate limiter does not let go for two minutes ends', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', () => new Promise(() => undefined));
    const pendingRead = readText(grantOf({}), { timeoutMs: 10 * minute });
    await advanceTimers(2 * minute);
    expect(await pendingRead).toBe('failed STORE_TIMEOUT');
  });

  test('that was abandoned is not joined: a later reader starts a new one', async () => {
    const { provider, readText } = createCacheFixture();
    provider.script('db', () => new Promise(() => undefined), value('two'));
    const abortController = new AbortController();
    const abortedRead = readText(grantOf({}), { signal: abortController.signal });
    await flushTasks();
    abortController.abort(cancelled);
    await expect(abortedRead).rejects.toBe(cancelled);
    expect(await readText(grantOf({}))).toBe('two');
  });

  test('cannot be joined from the moment in which it is abandoned', async () => {
    const inFlightReads = new InFlightReads({
      fetchBatched: () => new Promise(() => undefined),
      now: () => Date.now(),
      onLateResult: () => undefined,
    });
    const inFlightRead = inFlightReads.start('key', firstRead(), (result) => result);
    const abortController = new AbortController();
    const found = inFlightRead.join(abortController.signal).catch(() => inFlightReads.find('key'));
    expect(inFlightReads.find('key')).toBe(inFlightRead);
    abortController.abort(cancelled);
    expect(await found).toBeUndefined();
  });

  test('applies its result once, also when that throws: the lease of the result is in use', async () => {
    const lateResults: unknown[] = [];
    const inFlightReads = new InFlightReads({
      fetchBatched: async () => leased('one', Date.now() + minute),
      now: () => Date.now(),
      onLateResult: (...result) => lateResults.push(result),
    });
    const applied: unknown[] = [];
    const mistake = new TypeError('a mistake in the cache');
    const inFlightRead = inFlightReads.start('key', firstRead(), (result) => {
      applied.push(result);
      throw mistake;
    });
    await expect(inFlightRead.join(new AbortController().signal)).rejects.toBe(mistake);
    await flushTasks();
    expect(applied).toHaveLength(1);
    expect(lateResults).toEqual([]);
  });
});
