import { describe, expect, test } from '@jest/globals';
import { NamespaceLimiter } from './namespace-limiter.ts';

const neverAborted = new AbortController().signal;
const flushPromises = (): Promise<void> => new Promise(setImmediate);

describe('a namespace limiter', () => {
  test('lets as many callers in as the limit allows, then one for each release', async () => {
    const limiter = new NamespaceLimiter({ limit: 2, maxQueue: 10 });
    const first = await limiter.acquire('a', neverAborted);
    await limiter.acquire('b', neverAborted);
    const third = limiter.acquire('c', neverAborted);
    await flushPromises();
    expect([limiter.activeCount, limiter.waiting]).toEqual([2, 1]);
    first();
    await third;
    expect([limiter.activeCount, limiter.waiting]).toEqual([2, 0]);
  });

  test('frees only one slot when a slot is released twice', async () => {
    const limiter = new NamespaceLimiter({ limit: 1, maxQueue: 10 });
    const release = await limiter.acquire('a', neverAborted);
    release();
    release();
    await limiter.acquire('a', neverAborted);
    const pendingAcquire = limiter.acquire('a', neverAborted);
    expect([limiter.activeCount, limiter.waiting]).toEqual([1, 1]);
    release();
    expect([limiter.activeCount, limiter.waiting]).toEqual([1, 1]);
    pendingAcquire.catch(() => undefined);
  });

  test('serves namespaces in turn, so that many callers of one do not delay another', async () => {
    const limiter = new NamespaceLimiter({ limit: 1, maxQueue: 100 });
    const served: string[] = [];
    let release = await limiter.acquire('first', neverAborted);
    const acquisitions = ['crowd', 'crowd', 'crowd', 'lone', 'pair', 'pair'].map(
      async (namespace) => {
        const next = await limiter.acquire(namespace, neverAborted);
        served.push(namespace);
        release = next;
      },
    );
    while (served.length < acquisitions.length) {
      release();
      await new Promise(setImmediate);
    }
    expect(served).toEqual(['crowd', 'lone', 'pair', 'crowd', 'pair', 'crowd']);
  });

  test('keeps half of the slots for other namespaces when one namespace requests all', async () => {
    const limiter = new NamespaceLimiter({ limit: 4, maxQueue: 40 });
    const greedy = Array.from({ length: 6 }, () => limiter.acquire('greedy', neverAborted));
    await flushPromises();
    expect([limiter.activeCount, limiter.waiting]).toEqual([2, 4]);
    expect(limiter.tryAcquire('greedy')).toBeUndefined();
    const release = limiter.tryAcquire('modest');
    expect(release).toBeDefined();
    release?.();
    const [first] = await Promise.all(greedy.slice(0, 2));
    first?.();
    await greedy[2];
    expect([limiter.activeCount, limiter.waiting]).toEqual([2, 3]);
  });

  test('refuses a namespace that fills its quarter of the queue, and no other', async () => {
    const limiter = new NamespaceLimiter({ limit: 2, maxQueue: 8 });
    for (let i = 0; i < 3; i++) limiter.acquire('greedy', neverAborted).catch(() => undefined);
    await expect(limiter.acquire('greedy', neverAborted)).rejects.toMatchObject({
      code: 'OVERLOADED',
    });
    await expect(limiter.acquire('modest', neverAborted)).resolves.toBeInstanceOf(Function);
  });

  test('refuses a caller when the queue is full', async () => {
    const limiter = new NamespaceLimiter({ limit: 1, maxQueue: 1 });
    await limiter.acquire('a', neverAborted);
    limiter.acquire('b', neverAborted).catch(() => undefined);
    await flushPromises();
    for (const namespace of ['c', 'c'])
      await expect(limiter.acquire(namespace, neverAborted)).rejects.toMatchObject({
        code: 'OVERLOADED',
        // Without a count: the text of an event must repeat.
        message: 'too many mounts wait',
      });
  });

  test('removes a caller that leaves the queue, and loses no slot', async () => {
    const limiter = new NamespaceLimiter({ limit: 1, maxQueue: 10 });
    const release = await limiter.acquire('a', neverAborted);
    const abortController = new AbortController();
    const abortedAcquire = limiter.acquire('a', abortController.signal);
    const waitingAcquire = limiter.acquire('a', neverAborted);
    abortController.abort(new Error('left'));
    await expect(abortedAcquire).rejects.toThrow('left');
    expect(limiter.waiting).toBe(1);
    release();
    await waitingAcquire;
    await expect(limiter.acquire('a', abortController.signal)).rejects.toThrow('left');
    expect([limiter.activeCount, limiter.waiting]).toEqual([1, 0]);
  });
});
