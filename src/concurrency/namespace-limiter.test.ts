import { describe, expect, test } from '@jest/globals';
import { NamespaceLimiter } from './namespace-limiter.ts';

const neverAborted = new AbortController().signal;
const flushPromises = (): Promise<void> => new Promise(setImmediate);

describe('turns', () => {
  test('are given to as many as the limit allows, then one for each given back', async () => {
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

  test('giving one back twice frees only one', async () => {
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

  test('go round the namespaces, so that a crowd of one does not hold up another', async () => {
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

  test('leave half of themselves to the others, though one namespace asks for all', async () => {
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

  test('refuse a namespace that fills its quarter of the queue, and nobody else', async () => {
    const limiter = new NamespaceLimiter({ limit: 2, maxQueue: 8 });
    for (let i = 0; i < 3; i++) limiter.acquire('greedy', neverAborted).catch(() => undefined);
    await expect(limiter.acquire('greedy', neverAborted)).rejects.toMatchObject({
      code: 'OVERLOADED',
    });
    await expect(limiter.acquire('modest', neverAborted)).resolves.toBeInstanceOf(Function);
  });

  test('are refused where the queue is full', async () => {
    const limiter = new NamespaceLimiter({ limit: 1, maxQueue: 1 });
    await limiter.acquire('a', neverAborted);
    limiter.acquire('b', neverAborted).catch(() => undefined);
    await flushPromises();
    await expect(limiter.acquire('c', neverAborted)).rejects.toMatchObject({ code: 'OVERLOADED' });
    await expect(limiter.acquire('c', neverAborted)).rejects.toMatchObject({ code: 'OVERLOADED' });
  });

  test('whoever leaves the queue loses his place, and no turn is lost', async () => {
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
