import { describe, expect, test } from '@jest/globals';
import { MemoryLimiter } from './memory-limiter.ts';

const neverAborted = new AbortController().signal;

describe('a memory limiter', () => {
  test('serves requests in order of arrival while the memory lasts', async () => {
    const limiter = new MemoryLimiter({ maxBytes: 100 });
    const order: string[] = [];
    const release = await limiter.acquire(60, neverAborted);
    const second = limiter.acquire(50, neverAborted).then((releaseSecond) => {
      order.push('second');
      return releaseSecond;
    });
    const third = limiter.acquire(10, neverAborted).then(() => order.push('third'));
    await new Promise(setImmediate);
    // The small one would fit, but could make the large one wait for ever.
    expect(order).toEqual([]);
    release();
    release();
    await Promise.all([second, third]);
    expect(order).toEqual(['second', 'third']);
    expect(limiter.usedBytes).toBe(60);
    (await second)();
    expect(limiter.usedBytes).toBe(10);
  });

  test('serves a request above the maximum when no other memory is in use', async () => {
    const limiter = new MemoryLimiter({ maxBytes: 100 });
    const release = await limiter.acquire(1, neverAborted);
    const huge = limiter.acquire(5_000, neverAborted);
    release();
    await huge;
    expect(limiter.usedBytes).toBe(100);
  });

  test('resumes the next waiter when a waiter leaves', async () => {
    const limiter = new MemoryLimiter({ maxBytes: 100 });
    await limiter.acquire(50, neverAborted);
    const abortController = new AbortController();
    const abortedAcquire = limiter.acquire(100, abortController.signal);
    const next = limiter.acquire(50, neverAborted);
    abortController.abort(new Error('left'));
    await expect(abortedAcquire).rejects.toThrow('left');
    await next;
    expect(limiter.usedBytes).toBe(100);
    await expect(limiter.acquire(1, abortController.signal)).rejects.toThrow('left');
  });
});
