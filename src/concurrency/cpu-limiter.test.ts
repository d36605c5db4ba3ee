import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import { CpuLimiter } from './cpu-limiter.ts';

const neverAborted = { signal: new AbortController().signal };

/** A share whose clock moves by work, by standing still, and by waiting. */
function createFixture() {
  const clock = { worked: 0, stalled: 0 };
  const startedAt = performance.now();
  const now = (): number => clock.worked + clock.stalled + performance.now() - startedAt;
  const limiter = new CpuLimiter({
    now,
    cpu: () => clock.worked,
    cpuFraction: 0.5,
    burstMs: 20,
    uncountedMs: 5,
  });
  const order: string[] = [];
  const work = (namespace: string, ms: number, waiter = neverAborted): Promise<void> =>
    limiter.run(namespace, waiter, () => {
      order.push(namespace);
      clock.worked += ms;
    });
  return { clock, limiter, order, work };
}

describe('a share of the thread', () => {
  test('is used at once, and what was thrown is thrown', async () => {
    const limiter = new CpuLimiter();
    expect(await limiter.run('a', neverAborted, () => 'done')).toBe('done');
    const failing = limiter.run('a', neverAborted, () => {
      throw new SecretError('NOT_JSON', 'no');
    });
    await expect(failing).rejects.toMatchObject({ code: 'NOT_JSON' });
  });

  test('lets whoever had too much wait, and nobody else', async () => {
    const { order, work } = createFixture();
    await work('greedy', 100);
    const startedAt = performance.now();
    const later = work('greedy', 1);
    await work('modest', 30);
    expect(order).toEqual(['greedy', 'modest']);
    await later;
    // 80 too many, half of which is earned by the modest one's own 30 ms.
    expect(performance.now() - startedAt).toBeGreaterThan(100);
    expect(order).toEqual(['greedy', 'modest', 'greedy']);
  });

  test('does not count what ordinary classes need', async () => {
    const { order, work } = createFixture();
    const startedAt = performance.now();
    for (let piece = 0; piece < 200; piece += 1) await work('busy', 4);
    expect(performance.now() - startedAt).toBeLessThan(500);
    expect(order).toHaveLength(200);
  });

  test("does not count time in which the process stood still: a throttled container is nobody's fault", async () => {
    const { clock, limiter, order, work } = createFixture();
    await limiter.run('slow', neverAborted, () => (clock.stalled += 10_000));
    await work('slow', 1);
    expect(order).toEqual(['slow']);
  });

  test('is waited for no longer than the caller does', async () => {
    const { order, work } = createFixture();
    await work('greedy', 10_000);
    const caller = new AbortController();
    const pendingRun = work('greedy', 1, { signal: caller.signal });
    const cancelled = new SecretError('CANCELLED', 'left');
    setTimeout(() => caller.abort(cancelled), 5);
    await expect(pendingRun).rejects.toBe(cancelled);
    expect(order).toEqual(['greedy']);
  });
});
