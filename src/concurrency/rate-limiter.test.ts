import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { Registry } from 'prom-client';
import { RateLimiter, createRateLimiterMetrics } from './rate-limiter.ts';

const neverAborted = new AbortController().signal;

beforeEach(() => {
  jest.useFakeTimers({ now: 1_000_000, doNotFake: ['nextTick', 'queueMicrotask'] });
});
afterEach(() => {
  jest.useRealTimers();
});

function createTestLimiter(
  options: { perSecond?: number; burst?: number; maxQueue?: number } = {},
): RateLimiter {
  return new RateLimiter({
    name: 'cce',
    perSecond: 5,
    burst: 2,
    now: () => Date.now(),
    ...options,
  });
}

const codeOf = (error: unknown): string => (error as { code: string }).code;

/** Acquires, and records under `label` when the call was let go or refused. */
function recordAcquisitions(limiter: RateLimiter) {
  const log: { label: string; at: number }[] = [];
  const since = Date.now();
  const take = (label: string, call: Partial<Parameters<RateLimiter['acquire']>[0]> = {}): void => {
    limiter.acquire({ namespace: 'a', urgency: 'first', signal: neverAborted, ...call }).then(
      () => log.push({ label, at: Date.now() - since }),
      (error: unknown) => log.push({ label: `${label} ${codeOf(error)}`, at: Date.now() - since }),
    );
  };
  return { take, log, labels: () => log.map(({ label }) => label) };
}

describe('a rate limiter', () => {
  test('lets a burst go at once and the other calls at its rate', async () => {
    const { take, log } = recordAcquisitions(createTestLimiter());
    for (const label of ['1', '2', '3', '4']) take(label);
    await jest.advanceTimersByTimeAsync(1_000);
    expect(log).toEqual([
      { label: '1', at: 0 },
      { label: '2', at: 0 },
      { label: '3', at: 200 },
      { label: '4', at: 400 },
    ]);
  });

  test('saves at most one burst during a pause', async () => {
    const { take, log } = recordAcquisitions(createTestLimiter());
    await jest.advanceTimersByTimeAsync(60_000);
    for (const label of ['1', '2', '3']) take(label);
    await jest.advanceTimersByTimeAsync(1_000);
    expect(log.map(({ at }) => at)).toEqual([60_000, 60_000, 60_200]);
  });

  test('serves first mounts before refreshes that came earlier', async () => {
    const { take, labels } = recordAcquisitions(createTestLimiter({ burst: 1 }));
    take('taken');
    take('refresh', { urgency: 'refresh' });
    take('first');
    await jest.advanceTimersByTimeAsync(1_000);
    expect(labels()).toEqual(['taken', 'first', 'refresh']);
  });

  test('serves namespaces in turn', async () => {
    const { take, labels } = recordAcquisitions(createTestLimiter({ burst: 1 }));
    take('taken');
    for (const label of ['a1', 'a2', 'a3', 'b1', 'b2']) take(label, { namespace: label.charAt(0) });
    await jest.advanceTimersByTimeAsync(2_000);
    expect(labels()).toEqual(['taken', 'a1', 'b1', 'a2', 'b2', 'a3']);
  });

  test('refuses a refresh after 2 s, while a first mount keeps waiting', async () => {
    const { take, log } = recordAcquisitions(createTestLimiter({ perSecond: 0.25, burst: 1 }));
    take('taken');
    take('refresh', { urgency: 'refresh' });
    take('first');
    await jest.advanceTimersByTimeAsync(10_000);
    expect(log).toEqual([
      { label: 'taken', at: 0 },
      { label: 'refresh RATE_BUDGET_EXHAUSTED', at: 2_000 },
      { label: 'first', at: 4_000 },
    ]);
  });

  test('lets one namespace use a quarter of the queue, and keeps the rest for others', async () => {
    const limiter = createTestLimiter({ burst: 1, maxQueue: 8 });
    const abortController = new AbortController();
    const acquireFor = (namespace: string): Promise<void> =>
      limiter.acquire({ namespace, urgency: 'first', signal: abortController.signal });
    await acquireFor('greedy');
    const waiting = [acquireFor('greedy'), acquireFor('greedy'), acquireFor('modest')];
    await expect(acquireFor('greedy')).rejects.toMatchObject({ code: 'RATE_BUDGET_EXHAUSTED' });
    abortController.abort(new Error('left'));
    for (const { status } of await Promise.allSettled(waiting)) expect(status).toBe('rejected');
  });

  test('refuses a call when the queue is full', async () => {
    const { take, labels } = recordAcquisitions(createTestLimiter({ burst: 1, maxQueue: 1 }));
    for (const label of ['1', '2', '3']) take(label);
    await jest.advanceTimersByTimeAsync(1_000);
    expect(labels().sort()).toEqual(['1', '2', '3 RATE_BUDGET_EXHAUSTED']);
  });

  test('frees the place of a call that is aborted, and uses no token for it', async () => {
    const { take, log } = recordAcquisitions(createTestLimiter({ burst: 1, maxQueue: 1 }));
    const abortController = new AbortController();
    take('taken');
    take('leaver', { signal: abortController.signal });
    await jest.advanceTimersByTimeAsync(0);
    abortController.abort(Object.assign(new Error('left'), { code: 'CANCELLED' }));
    await jest.advanceTimersByTimeAsync(0);
    take('next');
    await jest.advanceTimersByTimeAsync(1_000);
    expect(log).toEqual([
      { label: 'taken', at: 0 },
      { label: 'leaver CANCELLED', at: 0 },
      { label: 'next', at: 200 },
    ]);
  });

  test('keeps no timer after the last waiter has left', async () => {
    const { take } = recordAcquisitions(createTestLimiter({ perSecond: 0.01, burst: 1 }));
    const abortControllers = [new AbortController(), new AbortController()];
    take('taken');
    abortControllers.forEach(({ signal }, index) => take(String(index), { signal }));
    await jest.advanceTimersByTimeAsync(0);
    abortControllers[0]?.abort({ code: 'CANCELLED' });
    expect(jest.getTimerCount()).toBe(1);
    abortControllers[1]?.abort({ code: 'CANCELLED' });
    expect(jest.getTimerCount()).toBe(0);
    take('next');
    await jest.advanceTimersByTimeAsync(100_000);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('uses no token for a call whose signal has fired before', async () => {
    const { take, labels } = recordAcquisitions(createTestLimiter({ burst: 1 }));
    take('leaver', { signal: AbortSignal.abort({ code: 'CANCELLED' }) });
    take('next');
    await jest.advanceTimersByTimeAsync(0);
    expect(labels()).toEqual(['leaver CANCELLED', 'next']);
  });

  test('works after the clock was set back', async () => {
    const { take, labels } = recordAcquisitions(createTestLimiter({ burst: 1 }));
    take('1');
    jest.setSystemTime(0);
    take('2');
    await jest.advanceTimersByTimeAsync(1_000);
    expect(labels()).toEqual(['1', '2']);
  });

  test('counts waiting times and refusals', async () => {
    const registry = new Registry();
    const limiter = new RateLimiter({
      name: 'cce',
      perSecond: 5,
      burst: 1,
      now: () => Date.now(),
      maxQueue: 1,
      metrics: createRateLimiterMetrics(registry),
    });
    const { take } = recordAcquisitions(limiter);
    for (const label of ['1', '2', '3']) take(label);
    await jest.advanceTimersByTimeAsync(1_000);
    const text = await registry.metrics();
    expect(text).toContain('keyferry_budget_wait_seconds_sum{budget="cce",urgency="first"} 0.2');
    expect(text).toContain('keyferry_budget_wait_seconds_count{budget="cce",urgency="first"} 2');
    expect(text).toContain('keyferry_budget_refused_total{budget="cce",urgency="first"} 1');
  });

  test('never exceeds burst and rate in any period, and lets every waiting call go', async () => {
    const arrival = fc.record({
      afterMs: fc.nat({ max: 700 }),
      namespace: fc.constantFrom('a', 'b', 'c'),
      urgency: fc.constantFrom('first' as const, 'refresh' as const),
      leavesAfterMs: fc.option(fc.nat({ max: 1_000 }), { nil: undefined }),
    });
    const property = fc.asyncProperty(
      fc.array(arrival, { maxLength: 40 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 5 }),
      async (arrivals, perSecond, burst) => {
        jest.setSystemTime(5_000_000);
        const { take, log } = recordAcquisitions(createTestLimiter({ perSecond, burst }));
        for (const { afterMs, leavesAfterMs, ...call } of arrivals) {
          await jest.advanceTimersByTimeAsync(afterMs);
          const abortController = new AbortController();
          if (leavesAfterMs !== undefined) {
            setTimeout(
              () => abortController.abort(Object.assign(new Error('left'), { code: 'CANCELLED' })),
              leavesAfterMs,
            );
          }
          take('went', { ...call, signal: abortController.signal });
        }
        await jest.advanceTimersByTimeAsync(41_000);
        expect(log).toHaveLength(arrivals.length);
        const acquiredAt = log.filter(({ label }) => label === 'went').map(({ at }) => at);
        acquiredAt.forEach((from, first) => {
          acquiredAt.slice(first).forEach((to, more) => {
            expect(more + 1).toBeLessThanOrEqual(burst + ((to - from) * perSecond) / 1_000 + 1e-6);
          });
        });
        if (
          arrivals.every(
            ({ urgency, leavesAfterMs }) => urgency === 'first' && leavesAfterMs === undefined,
          )
        ) {
          expect(acquiredAt).toHaveLength(arrivals.length);
        }
      },
    );
    await fc.assert(property, { numRuns: 40 });
  });
});
