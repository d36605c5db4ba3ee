import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import { runAs } from './caller.ts';
import { type Retry, createRetry } from './retry.ts';

const neverAborted = new AbortController().signal;
const outage = new SecretError('STORE_UNAVAILABLE', 'the store is away');
const always = (): boolean => true;
const throttledFor = (retryAfterMs: number): SecretError =>
  new SecretError('STORE_THROTTLED', 'too many calls', { retryAfterMs });

beforeEach(() => {
  jest.useFakeTimers({ now: 0, doNotFake: ['nextTick', 'queueMicrotask'] });
});
afterEach(() => {
  jest.useRealTimers();
});

/** Fails a number of times, then succeeds. Records the time of each attempt. */
function scriptedAttempt(failures: number, error: unknown = outage) {
  const at: number[] = [];
  const attempt = async (attemptNumber: number): Promise<string> => {
    at.push(Date.now());
    if (attemptNumber <= failures) throw error;
    return `result ${attemptNumber}`;
  };
  return { attempt, at };
}

async function runToEnd(running: Promise<unknown>): Promise<unknown> {
  const outcome = running.catch((error: unknown) => error);
  await jest.advanceTimersByTimeAsync(30_000);
  return outcome;
}

/** Spends retries until none is in hand; how many there were. */
async function availableRetries(retry: Retry, endpoint: string): Promise<number> {
  let retries = 0;
  for (let calls = 0; calls < 20; calls += 1) {
    const { attempt, at } = scriptedAttempt(9);
    await runToEnd(retry.run(endpoint, neverAborted, attempt, always));
    if (at.length === 1) break;
    retries += at.length - 1;
  }
  return retries;
}

describe('a retry', () => {
  test.each([
    ['STORE_UNAVAILABLE', 3],
    ['STORE_TIMEOUT', 3],
    ['STORE_THROTTLED', 3],
    ['RATE_BUDGET_EXHAUSTED', 1],
    ['STORE_ANSWER_INVALID', 1],
    ['CREDENTIALS_UNAVAILABLE', 1],
    ['ACCESS_DENIED', 1],
  ] as const)('makes up to three attempts after transient errors only: %s', async (code, count) => {
    const { attempt, at } = scriptedAttempt(9, new SecretError(code, 'no'));
    await runToEnd(createRetry().run('kms', neverAborted, attempt));
    expect(at).toHaveLength(count);
  });

  test('returns the result of the first successful attempt', async () => {
    const { attempt, at } = scriptedAttempt(2);
    const retry = createRetry({ random: () => 0.5 });
    expect(await runToEnd(retry.run('kms', neverAborted, attempt, always))).toBe('result 3');
    expect(at).toEqual([0, 50, 150]);
  });

  test('ends after three attempts with the last failure', async () => {
    const { attempt, at } = scriptedAttempt(9);
    expect(await runToEnd(createRetry().run('kms', neverAborted, attempt, always))).toBe(outage);
    expect(at).toHaveLength(3);
  });

  test('pauses anywhere between nothing and the cap', async () => {
    const { attempt, at } = scriptedAttempt(9);
    const retry = createRetry({ random: () => 1, baseMs: 1_500, capMs: 2_000 });
    await runToEnd(retry.run('kms', neverAborted, attempt, always));
    expect(at).toEqual([0, 1_500, 3_500]);
    const eager = scriptedAttempt(9);
    const start = Date.now();
    await runToEnd(
      createRetry({ random: () => 0 }).run('kms', neverAborted, eager.attempt, always),
    );
    // Timers know no zero: a millisecond each.
    expect(eager.at.at(-1)).toBeLessThanOrEqual(start + 2);
  });

  test('tries only failures that may pass, and nothing it does not know', async () => {
    const denied = scriptedAttempt(9, new SecretError('ACCESS_DENIED', 'no'));
    const classifiedCodes: string[] = [];
    await runToEnd(
      createRetry().run('kms', neverAborted, denied.attempt, (error) => {
        classifiedCodes.push(error.code);
        return false;
      }),
    );
    expect([denied.at.length, classifiedCodes]).toEqual([1, ['ACCESS_DENIED']]);
    const bug = scriptedAttempt(9, new TypeError('a bug'));
    expect(
      await runToEnd(createRetry().run('kms', neverAborted, bug.attempt, always)),
    ).toBeInstanceOf(TypeError);
    expect(bug.at).toHaveLength(1);
  });

  test('pauses at least as long as the store requests, and gives up if that is too long', async () => {
    const throttled = scriptedAttempt(1, throttledFor(3_000));
    const retry = createRetry({ random: () => 0.5 });
    await runToEnd(retry.run('kms', neverAborted, throttled.attempt));
    expect(throttled.at).toEqual([0, 3_050]);
    const tooLong = throttledFor(60_000);
    const closed = scriptedAttempt(1, tooLong);
    expect(await runToEnd(retry.run('kms', neverAborted, closed.attempt))).toBe(tooLong);
    expect(closed.at).toHaveLength(1);
  });

  test('has ten retries in hand for an endpoint, and earns one by ten calls', async () => {
    const retry = createRetry();
    expect(await availableRetries(retry, 'kms')).toBe(10);
    expect(await availableRetries(retry, 'kms')).toBe(0);
    expect(await availableRetries(retry, 'iam')).toBe(10);
    for (let calls = 0; calls < 10; calls += 1)
      await retry.run('kms', neverAborted, scriptedAttempt(0).attempt, always);
    expect(await availableRetries(retry, 'kms')).toBe(1);
  });

  test('has ten retries in hand for a namespace, and thirty for all namespaces of an endpoint', async () => {
    const retry = createRetry();
    const retriesOf = (namespace: string): Promise<number> =>
      runAs({ namespace, patience: () => 0 }, () => availableRetries(retry, 'kms'));
    expect(await retriesOf('a')).toBe(10);
    expect(await retriesOf('a')).toBe(0);
    expect(await retriesOf('b')).toBe(10);
    // The calls of all earned some more for the endpoint.
    expect(await retriesOf('c')).toBe(10);
    expect(await retriesOf('d')).toBeLessThan(10);
  });

  test('ends at once, with the reason, when the signal fires during a pause', async () => {
    const { attempt, at } = scriptedAttempt(9);
    const caller = new AbortController();
    const cancelled = new SecretError('CANCELLED', 'left');
    const retry = createRetry({ random: () => 0.5 });
    const outcome = retry
      .run('kms', caller.signal, attempt, always)
      .catch((error: unknown) => error);
    await jest.advanceTimersByTimeAsync(20);
    caller.abort(cancelled);
    expect(await outcome).toBe(cancelled);
    await jest.advanceTimersByTimeAsync(10_000);
    expect(at).toHaveLength(1);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('makes no attempt for one who has left', async () => {
    const { attempt, at } = scriptedAttempt(0);
    const cancelled = new SecretError('CANCELLED', 'left');
    await expect(
      createRetry().run('kms', AbortSignal.abort(cancelled), attempt, always),
    ).rejects.toBe(cancelled);
    expect(at).toEqual([]);
  });

  test('tells of every attempt that failed, also of those that were waited out', async () => {
    const reportedCodes: string[] = [];
    const retry = createRetry({
      baseMs: 1,
      onFailedAttempt: ({ code }) => reportedCodes.push(code),
    });
    let calls = 0;
    const result = await runToEnd(
      retry.run(
        'store',
        neverAborted,
        async () => {
          calls += 1;
          if (calls < 3) throw new SecretError('STORE_THROTTLED', 'too many calls');
          return 'result';
        },
        () => true,
      ),
    );
    expect([result, reportedCodes]).toEqual(['result', ['STORE_THROTTLED', 'STORE_THROTTLED']]);
  });
});

describe('a retry for a caller with patience', () => {
  /** A store that is away until a time. It records when it was called. */
  function createStore(upAt: number, error: unknown = outage) {
    const at: number[] = [];
    const call = async (): Promise<string> => {
      at.push(Date.now());
      if (Date.now() < upAt) throw error;
      return 'result';
    };
    return { call, at };
  }

  /** Runs a call whose patience ends after some milliseconds. */
  function runPatiently(
    retry: Retry,
    call: () => Promise<string>,
    { namespace = 'team-a', patienceMs = 20_000, signal = new AbortController().signal } = {},
  ): Promise<unknown> {
    const end = Date.now() + patienceMs;
    const patience = (): number => Math.max(0, end - Date.now());
    return runAs({ namespace, patience }, () => retry.run('vault', signal, call)).catch(
      (thrown: unknown) => thrown,
    );
  }

  test('goes on until the store is back', async () => {
    const { call, at } = createStore(10_000);
    const retry = createRetry({ random: () => 0.5 });
    expect(await runToEnd(runPatiently(retry, call))).toBe('result');
    expect(at).toEqual([
      0,
      50,
      150,
      350,
      750,
      1_550,
      ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map(() => expect.any(Number)),
    ]);
    expect(at.at(-1)).toBe(10_550);
  });

  test('ends with the last failure when the patience ends', async () => {
    const { call, at } = createStore(Infinity);
    const started = Date.now();
    const outcome = runPatiently(createRetry({ random: () => 0.5 }), call, { patienceMs: 5_000 });
    const endedAt = outcome.then(() => Date.now() - started);
    expect(await runToEnd(outcome)).toBe(outage);
    expect(await endedAt).toBe(5_000);
    expect(at.length).toBeLessThan(12);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('sends 200 callers to a store that is away once each, and then one of them after each pause', async () => {
    const { call, at } = createStore(15_000);
    const retry = createRetry({ random: () => 0.5 });
    const outcomes = Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        runPatiently(retry, call, { namespace: `team-${index % 7}` }),
      ),
    );
    await jest.advanceTimersByTimeAsync(14_999);
    expect(at.length).toBeLessThan(200 + 20);
    await jest.advanceTimersByTimeAsync(1_000);
    expect(new Set(await outcomes)).toEqual(new Set(['result']));
  });

  test('sends more callers to a store only as it succeeds', async () => {
    let inFlight = 0;
    let most = 0;
    let isBack = false;
    const call = async (): Promise<string> => {
      if (!isBack) throw outage;
      inFlight += 1;
      most = Math.max(most, inFlight);
      await new Promise((resolve) => setTimeout(resolve, 100));
      inFlight -= 1;
      if (inFlight > 20) throw outage;
      return 'result';
    };
    const retry = createRetry({ random: () => 0.5 });
    const outcomes = Promise.all(Array.from({ length: 200 }, () => runPatiently(retry, call)));
    await jest.advanceTimersByTimeAsync(1_000);
    isBack = true;
    await jest.advanceTimersByTimeAsync(8_000);
    expect(new Set(await outcomes)).toEqual(new Set(['result']));
    expect(most).toBeLessThan(100);
  });

  test('lets namespaces take turns', async () => {
    const retry = createRetry({ random: () => 0.5 });
    const order: string[] = [];
    const callOf = (namespace: string) => async (): Promise<string> => {
      order.push(namespace);
      throw outage;
    };
    for (let call = 0; call < 50; call += 1)
      void runPatiently(retry, callOf('many'), { namespace: 'many' });
    await jest.advanceTimersByTimeAsync(1);
    void runPatiently(retry, callOf('one'), { namespace: 'one' });
    await jest.advanceTimersByTimeAsync(0);
    order.splice(0);
    await jest.advanceTimersByTimeAsync(2_000);
    expect(order.slice(0, 2)).toContain('one');
    await jest.advanceTimersByTimeAsync(30_000);
  });

  test('pauses as long as the store requests, unless that is longer than the patience', async () => {
    const retry = createRetry({ random: () => 0.5 });
    const throttling = createStore(1, throttledFor(8_000));
    expect(await runToEnd(runPatiently(retry, throttling.call))).toBe('result');
    expect(throttling.at[1]! - throttling.at[0]!).toBe(8_050);
    const tooLong = throttledFor(60_000);
    const closed = createStore(Infinity, tooLong);
    expect(await runPatiently(retry, closed.call)).toBe(tooLong);
    expect(closed.at).toHaveLength(1);
  });

  test('does not repeat what is not retryable, and ends at once with the caller', async () => {
    const retry = createRetry();
    const denied = createStore(Infinity, new SecretError('ACCESS_DENIED', 'no'));
    expect(await runPatiently(retry, denied.call)).toMatchObject({ code: 'ACCESS_DENIED' });
    expect(denied.at).toHaveLength(1);
    const caller = new AbortController();
    const cancelled = new SecretError('CANCELLED', 'left');
    const away = createStore(Infinity);
    const outcome = runPatiently(retry, away.call, { signal: caller.signal });
    await jest.advanceTimersByTimeAsync(0);
    caller.abort(cancelled);
    expect(await outcome).toBe(cancelled);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('leaves the retries of other callers as they are', async () => {
    const retry = createRetry({ random: () => 0.5 });
    await runToEnd(runPatiently(retry, createStore(15_000 + Date.now()).call));
    expect(await availableRetries(retry, 'vault')).toBe(10);
  });
});
