import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import { race, withTimeout } from './single-flight.ts';

const forever = new AbortController().signal;
const left = new SecretError('CANCELLED', 'left');
const late = new SecretError('STORE_TIMEOUT', 'late');
const never = new Promise<never>(() => undefined);

describe('race', () => {
  test('is the promise while the signal is silent', async () => {
    await expect(race(Promise.resolve('answer'), forever)).resolves.toBe('answer');
    await expect(race(Promise.reject(late), forever)).rejects.toBe(late);
  });

  test('rejects with the reason of a signal that fires, or has fired', async () => {
    const caller = new AbortController();
    const racing = race(never, caller.signal);
    caller.abort(left);
    await expect(racing).rejects.toBe(left);
    await expect(race(Promise.resolve('answer'), caller.signal)).rejects.toBe(left);
  });

  test('leaves no listener behind', async () => {
    const signal = new AbortController().signal;
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => ((listeners += 1), add(...args));
    signal.removeEventListener = (...args: Parameters<typeof remove>) => ((listeners -= 1), remove(...args));
    await race(Promise.resolve(), signal);
    await race(Promise.reject(late), signal).catch(() => undefined);
    expect(listeners).toBe(0);
  });
});

describe('a timeout', () => {
  test('lets work answer in time', async () => {
    await expect(
      withTimeout(
        1_000,
        forever,
        () => late,
        async () => 'answer',
      ),
    ).resolves.toBe('answer');
  });

  test('fires the signal of the work and answers, whether or not the work heeds it', async () => {
    let seen: AbortSignal | undefined;
    const working = withTimeout(
      5,
      forever,
      () => late,
      (signal) => {
        seen = signal;
        return never;
      },
    );
    await expect(working).rejects.toBe(late);
    expect(seen?.reason).toBe(late);
  });

  test("rejects with the caller's reason when the caller leaves first", async () => {
    const caller = new AbortController();
    const working = withTimeout(
      1_000,
      caller.signal,
      () => late,
      () => never,
    );
    caller.abort(left);
    await expect(working).rejects.toBe(left);
  });

  test('begins nothing for a caller who has left', async () => {
    let begun = false;
    const working = withTimeout(
      1_000,
      AbortSignal.abort(left),
      () => late,
      async () => {
        begun = true;
        throw late;
      },
    );
    await expect(working).rejects.toBe(left);
    expect(begun).toBe(false);
  });
});
