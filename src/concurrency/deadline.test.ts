import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import { raceWithAbort, withTimeout } from './single-flight.ts';

const neverAborted = new AbortController().signal;
const cancelled = new SecretError('CANCELLED', 'left');
const timedOut = new SecretError('STORE_TIMEOUT', 'late');
const never = new Promise<never>(() => undefined);

describe('race', () => {
  test('is the promise while the signal is silent', async () => {
    await expect(raceWithAbort(Promise.resolve('answer'), neverAborted)).resolves.toBe('answer');
    await expect(raceWithAbort(Promise.reject(timedOut), neverAborted)).rejects.toBe(timedOut);
  });

  test('rejects with the reason of a signal that fires, or has fired', async () => {
    const caller = new AbortController();
    const racing = raceWithAbort(never, caller.signal);
    caller.abort(cancelled);
    await expect(racing).rejects.toBe(cancelled);
    await expect(raceWithAbort(Promise.resolve('answer'), caller.signal)).rejects.toBe(cancelled);
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

describe('a timeout', () => {
  test('lets work answer in time', async () => {
    await expect(
      withTimeout(
        1_000,
        neverAborted,
        () => timedOut,
        async () => 'answer',
      ),
    ).resolves.toBe('answer');
  });

  test('fires the signal of the work and answers, whether or not the work heeds it', async () => {
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

  test("rejects with the caller's reason when the caller leaves first", async () => {
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

  test('begins nothing for a caller who has left', async () => {
    let begun = false;
    const working = withTimeout(
      1_000,
      AbortSignal.abort(cancelled),
      () => timedOut,
      async () => {
        begun = true;
        throw timedOut;
      },
    );
    await expect(working).rejects.toBe(cancelled);
    expect(begun).toBe(false);
  });
});
