import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import { CpuLimiter } from './cpu-limiter.ts';

const neverAborted = { signal: new AbortController().signal };

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask'] });
});
afterEach(() => {
  jest.useRealTimers();
});

/** A limiter whose clock advances with CPU time, with stalls of the process, and with timers. */
function createFixture() {
  const clock = { worked: 0, stalled: 0 };
  const startedAt = Date.now();
  const elapsed = (): number => Date.now() - startedAt;
  const limiter = new CpuLimiter({
    now: () => clock.worked + clock.stalled + elapsed(),
    cpu: () => clock.worked,
    cpuFraction: 0.5,
    burstMs: 20,
    uncountedMs: 5,
  });
  const order: string[] = [];
  const work = (
    namespace: string,
    ms: number,
    { waiter = neverAborted, label = namespace } = {},
  ): Promise<void> =>
    limiter.run(namespace, waiter, () => {
      order.push(label);
      clock.worked += ms;
    });
  return { clock, elapsed, limiter, order, work };
}

describe('a CPU limiter', () => {
  test('runs work at once, and throws what the work throws', async () => {
    const limiter = new CpuLimiter();
    expect(await limiter.run('a', neverAborted, () => 'done')).toBe('done');
    const failing = limiter.run('a', neverAborted, () => {
      throw new SecretError('NOT_JSON', 'no');
    });
    await expect(failing).rejects.toMatchObject({ code: 'NOT_JSON' });
  });

  test('delays a namespace that has used too much, and no other', async () => {
    const { elapsed, order, work } = createFixture();
    await work('greedy', 100);
    const later = work('greedy', 1);
    await work('modest', 30);
    expect(order).toEqual(['greedy', 'modest']);
    await jest.advanceTimersByTimeAsync(120);
    expect(order).toEqual(['greedy', 'modest']);
    // The excess is 80 ms. The 30 ms of the other namespace's work and 130 ms of waiting reduce it.
    await jest.advanceTimersByTimeAsync(40);
    await later;
    expect(elapsed()).toBe(160);
    expect(order).toEqual(['greedy', 'modest', 'greedy']);
  });

  test('runs the waiting callers of a namespace in order, each within the limit', async () => {
    const { elapsed, order, work } = createFixture();
    await work('greedy', 60);
    const endedAt: number[] = [];
    for (const label of ['1', '2', '3'])
      void work('greedy', 20, { label }).then(() => endedAt.push(elapsed()));
    await jest.advanceTimersByTimeAsync(1_000);
    expect(order).toEqual(['greedy', '1', '2', '3']);
    // The excess of 40 ms takes 80 ms. Then each piece of 20 ms adds an excess of 10 ms: half of
    // the piece is paid for while it runs.
    expect(endedAt).toEqual([80, 100, 120]);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('does not count the work of ordinary classes', async () => {
    const { elapsed, order, work } = createFixture();
    for (let piece = 0; piece < 200; piece += 1) await work('busy', 4);
    expect(order).toHaveLength(200);
    expect(elapsed()).toBe(0);
  });

  test('does not count time in which the process does not run, as in a throttled container', async () => {
    const { clock, limiter, order, work } = createFixture();
    await limiter.run('slow', neverAborted, () => (clock.stalled += 10_000));
    await work('slow', 1);
    expect(order).toEqual(['slow']);
  });

  test('removes a waiting caller whose signal fires, and keeps no timer', async () => {
    const { order, work } = createFixture();
    await work('greedy', 10_000);
    const caller = new AbortController();
    const pendingRun = work('greedy', 1, { waiter: { signal: caller.signal } });
    const cancelled = new SecretError('CANCELLED', 'left');
    expect(jest.getTimerCount()).toBe(1);
    caller.abort(cancelled);
    await expect(pendingRun).rejects.toBe(cancelled);
    await expect(work('greedy', 1, { waiter: caller })).rejects.toBe(cancelled);
    expect(jest.getTimerCount()).toBe(0);
    expect(order).toEqual(['greedy']);
  });
});
