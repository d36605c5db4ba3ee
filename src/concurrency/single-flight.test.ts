import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import { createSingleFlight } from './single-flight.ts';

const forever = new AbortController().signal;
const left = new SecretError('CANCELLED', 'left');

/** Work that is settled from outside; notes every start and the signal it was given. */
function work() {
  const starts: { signal: AbortSignal; resolve: (value: string) => void; reject: (error: Error) => void }[] =
    [];
  const start = (signal: AbortSignal): Promise<string> =>
    new Promise((resolve, reject) => {
      starts.push({ signal, resolve, reject });
    });
  return { start, starts };
}

describe('a single flight', () => {
  test('is shared by all who come while it is under way, failures included', async () => {
    const { start, starts } = work();
    const flights = createSingleFlight<string>();
    const crowd = Array.from({ length: 200 }, () => flights.run('key', forever, start));
    expect(starts).toHaveLength(1);
    starts[0]!.resolve('answer');
    expect(new Set(await Promise.all(crowd))).toEqual(new Set(['answer']));
    const failing = [flights.run('key', forever, start), flights.run('key', forever, start)];
    starts[1]!.reject(left);
    await expect(Promise.allSettled(failing)).resolves.toMatchObject([{ reason: left }, { reason: left }]);
    expect(starts).toHaveLength(2);
  });

  test('is one for each key', () => {
    const { start, starts } = work();
    const flights = createSingleFlight<string>();
    void flights.run('a', forever, start);
    void flights.run('b', forever, start);
    expect(starts).toHaveLength(2);
  });

  test('goes on when the first of 200 leaves: 199 have the answer of one call', async () => {
    const { start, starts } = work();
    const flights = createSingleFlight<string>();
    const leaver = new AbortController();
    const first = flights.run('key', leaver.signal, start);
    const others = Array.from({ length: 199 }, () => flights.run('key', forever, start));
    leaver.abort(left);
    await expect(first).rejects.toBe(left);
    expect(starts[0]!.signal.aborted).toBe(false);
    starts[0]!.resolve('answer');
    expect(await Promise.all(others)).toEqual(Array(199).fill('answer'));
    expect(starts).toHaveLength(1);
  });

  test('is stopped when the last has left, and nobody joins a stopped one', async () => {
    const { start, starts } = work();
    const flights = createSingleFlight<string>();
    const leaver = new AbortController();
    const crowd = [flights.run('key', leaver.signal, start), flights.run('key', leaver.signal, start)];
    leaver.abort(left);
    await Promise.allSettled(crowd);
    expect(starts[0]!.signal.reason).toMatchObject({ code: 'CANCELLED' });
    const next = flights.run('key', forever, start);
    expect(starts).toHaveLength(2);
    // The end of the stopped one must not hide the new one.
    starts[0]!.reject(left);
    await Promise.resolve();
    const joined = flights.run('key', forever, start);
    starts[1]!.resolve('answer');
    expect(await Promise.all([next, joined])).toEqual(['answer', 'answer']);
    expect(starts).toHaveLength(2);
  });

  test('starts nothing for one who has left', async () => {
    const { start, starts } = work();
    await expect(createSingleFlight<string>().run('key', AbortSignal.abort(left), start)).rejects.toBe(left);
    expect(starts).toEqual([]);
  });
});
