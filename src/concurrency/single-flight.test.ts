import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import { runAs } from './caller.ts';
import { SingleFlight } from './single-flight.ts';

const neverAborted = new AbortController().signal;
const cancelled = new SecretError('CANCELLED', 'left');

/** Work that the test resolves or rejects. Records every start and its signal. */
function createControlledWork() {
  const starts: {
    signal: AbortSignal;
    resolve: (value: string) => void;
    reject: (error: Error) => void;
  }[] = [];
  const start = (signal: AbortSignal): Promise<string> =>
    new Promise((resolve, reject) => {
      starts.push({ signal, resolve, reject });
    });
  return { start, starts };
}

describe('a single flight', () => {
  test('is shared by all callers that come while it is in flight, failures included', async () => {
    const { start, starts } = createControlledWork();
    const flights = new SingleFlight<string>();
    const callers = Array.from({ length: 200 }, () => flights.run('key', neverAborted, start));
    expect(starts).toHaveLength(1);
    starts[0]!.resolve('result');
    expect(new Set(await Promise.all(callers))).toEqual(new Set(['result']));
    const failing = [
      flights.run('key', neverAborted, start),
      flights.run('key', neverAborted, start),
    ];
    starts[1]!.reject(cancelled);
    await expect(Promise.allSettled(failing)).resolves.toMatchObject([
      { reason: cancelled },
      { reason: cancelled },
    ]);
    expect(starts).toHaveLength(2);
  });

  test('runs once per key', () => {
    const { start, starts } = createControlledWork();
    const flights = new SingleFlight<string>();
    void flights.run('a', neverAborted, start);
    void flights.run('b', neverAborted, start);
    expect(starts).toHaveLength(2);
  });

  test('continues when the first of 200 callers leaves: 199 get the result of one call', async () => {
    const { start, starts } = createControlledWork();
    const flights = new SingleFlight<string>();
    const abortController = new AbortController();
    const first = flights.run('key', abortController.signal, start);
    const others = Array.from({ length: 199 }, () => flights.run('key', neverAborted, start));
    abortController.abort(cancelled);
    await expect(first).rejects.toBe(cancelled);
    expect(starts[0]!.signal.aborted).toBe(false);
    starts[0]!.resolve('result');
    expect(await Promise.all(others)).toEqual(Array(199).fill('result'));
    expect(starts).toHaveLength(1);
  });

  test('is cancelled when the last caller has left, and no caller joins a cancelled one', async () => {
    const { start, starts } = createControlledWork();
    const flights = new SingleFlight<string>();
    const abortController = new AbortController();
    const callers = [
      flights.run('key', abortController.signal, start),
      flights.run('key', abortController.signal, start),
    ];
    abortController.abort(cancelled);
    await Promise.allSettled(callers);
    expect(starts[0]!.signal.reason).toMatchObject({ code: 'CANCELLED' });
    const next = flights.run('key', neverAborted, start);
    expect(starts).toHaveLength(2);
    // The end of the cancelled call must not remove the new one.
    starts[0]!.reject(cancelled);
    await Promise.resolve();
    const joined = flights.run('key', neverAborted, start);
    starts[1]!.resolve('result');
    expect(await Promise.all([next, joined])).toEqual(['result', 'result']);
    expect(starts).toHaveLength(2);
  });

  test('starts no work if the signal has fired before', async () => {
    const { start, starts } = createControlledWork();
    await expect(
      new SingleFlight<string>().run('key', AbortSignal.abort(cancelled), start),
    ).rejects.toBe(cancelled);
    expect(starts).toEqual([]);
  });
});

describe('a flight of a caller without patience', () => {
  const runFor = (patienceMs: number, work: () => Promise<string>): Promise<string> =>
    runAs({ namespace: 'team-a', patience: () => patienceMs }, work);

  test('that an outage ends: callers with patience share a flight of their own', async () => {
    const { start, starts } = createControlledWork();
    const flights = new SingleFlight<string>();
    const outage = new SecretError('STORE_UNAVAILABLE', 'away');
    const join = (): Promise<string> => flights.run('key', neverAborted, start);
    const quick = [runFor(0, join), runFor(0, join)];
    const patient = [runFor(20_000, join), runFor(20_000, join)];
    starts[0]!.reject(outage);
    await expect(Promise.allSettled(quick)).resolves.toMatchObject([
      { reason: outage },
      { reason: outage },
    ]);
    starts[1]!.resolve('result');
    expect(await Promise.all(patient)).toEqual(['result', 'result']);
    expect(starts).toHaveLength(2);
  });

  test('that a refusal ends: it counts for every caller', async () => {
    const { start, starts } = createControlledWork();
    const flights = new SingleFlight<string>();
    const refused = new SecretError('CREDENTIALS_REFUSED', 'wrong key');
    const join = (): Promise<string> => flights.run('key', neverAborted, start);
    const callers = [runFor(0, join), runFor(20_000, join)];
    starts[0]!.reject(refused);
    await expect(Promise.allSettled(callers)).resolves.toMatchObject([
      { reason: refused },
      { reason: refused },
    ]);
    expect(starts).toHaveLength(1);
  });
});
