import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import { raceWithAbort, withTimeout } from './deadline.ts';

const neverAborted = new AbortController().signal;
const cancelled = new SecretError('CANCELLED', 'left');
const timedOut = new SecretError('STORE_TIMEOUT', 'late');
const never = new Promise<never>(() => undefined);

describe('raceWithAbort', () => {
  test('settles as the promise does while the signal has not fired', async () => {
    await expect(raceWithAbort(Promise.resolve('result'), neverAborted)).resolves.toBe('result');
    await expect(raceWithAbort(Promise.reject(timedOut), neverAborted)).rejects.toBe(timedOut);
  });

  test('rejects with the reason of a signal that fires, or has fired', async () => {
    const caller = new AbortController();
    const racing = raceWithAbort(never, caller.signal);
    caller.abort(cancelled);
    await expect(racing).rejects.toBe(cancelled);
    await expect(raceWithAbort(Promise.resolve('result'), caller.signal)).rejects.toBe(cancelled);
  });

  test('leaves no listener behind', async () => {
    const signal = new AbortController().signal;
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => ((listeners += 1), add(...args));
    signal.removeEventListener = (...args: Parameters<typeof remove>) => (
      (listeners -= 1),
      remove(...args)
    );
    await raceWithAbort(Promise.resolve(), signal);
    await raceWithAbort(Promise.reject(timedOut), signal).catch(() => undefined);
    expect(listeners).toBe(0);
  });
});

describe('withTimeout', () => {
  test('returns the result of work that ends in time', async () => {
    await expect(
      withTimeout(
        1_000,
        neverAborted,
        () => timedOut,
        async () => 'result',
      ),
    ).resolves.toBe('result');
  });

  test('fires the signal of the work and rejects, even if the work ignores the signal', async () => {
    let seen: AbortSignal | undefined;
    const working = withTimeout(
      5,
      neverAborted,
      () => timedOut,
      (signal) => {
        seen = signal;
        return never;
      },
    );
    await expect(working).rejects.toBe(timedOut);
    expect(seen?.reason).toBe(timedOut);
  });

  test("rejects with the reason of the caller's signal if that fires first", async () => {
    const caller = new AbortController();
    const working = withTimeout(
      1_000,
      caller.signal,
      () => timedOut,
      () => never,
    );
    caller.abort(cancelled);
    await expect(working).rejects.toBe(cancelled);
  });

  test('starts no work if the signal has fired before', async () => {
    let started = false;
    const working = withTimeout(
      1_000,
      AbortSignal.abort(cancelled),
      () => timedOut,
      async () => {
        started = true;
        throw timedOut;
      },
    );
    await expect(working).rejects.toBe(cancelled);
    expect(started).toBe(false);
  });
});
