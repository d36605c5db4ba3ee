import { describe, expect, test } from '@jest/globals';
import { createTurns } from './namespace-limiter.ts';

const calm = new AbortController().signal;
const settled = (): Promise<void> => new Promise(setImmediate);

describe('turns', () => {
  test('are given to as many as the limit allows, then one for each given back', async () => {
    const turns = createTurns({ limit: 2, maxQueue: 10 });
    const first = await turns.take('a', calm);
    await turns.take('b', calm);
    const third = turns.take('c', calm);
    await settled();
    expect([turns.taken, turns.waiting]).toEqual([2, 1]);
    first();
    await third;
    expect([turns.taken, turns.waiting]).toEqual([2, 0]);
  });

  test('giving one back twice frees only one', async () => {
    const turns = createTurns({ limit: 1, maxQueue: 10 });
    const back = await turns.take('a', calm);
    back();
    back();
    await turns.take('a', calm);
    const waits = turns.take('a', calm);
    expect([turns.taken, turns.waiting]).toEqual([1, 1]);
    back();
    expect([turns.taken, turns.waiting]).toEqual([1, 1]);
    waits.catch(() => undefined);
  });

  test('go round the namespaces, so that a crowd of one does not hold up another', async () => {
    const turns = createTurns({ limit: 1, maxQueue: 100 });
    const served: string[] = [];
    let back = await turns.take('first', calm);
    const everybody = ['crowd', 'crowd', 'crowd', 'lone', 'pair', 'pair'].map(async (namespace) => {
      const next = await turns.take(namespace, calm);
      served.push(namespace);
      back = next;
    });
    while (served.length < everybody.length) {
      back();
      await new Promise(setImmediate);
    }
    expect(served).toEqual(['crowd', 'lone', 'pair', 'crowd', 'pair', 'crowd']);
  });

  test('leave half of themselves to the others, though one namespace asks for all', async () => {
    const turns = createTurns({ limit: 4, maxQueue: 40 });
    const greedy = Array.from({ length: 6 }, () => turns.take('greedy', calm));
    await settled();
    expect([turns.taken, turns.waiting]).toEqual([2, 4]);
    expect(turns.takeAtOnce('greedy')).toBeUndefined();
    const back = turns.takeAtOnce('modest');
    expect(back).toBeDefined();
    back?.();
    const [first] = await Promise.all(greedy.slice(0, 2));
    first?.();
    await greedy[2];
    expect([turns.taken, turns.waiting]).toEqual([2, 3]);
  });

  test('refuse a namespace that fills its quarter of the queue, and nobody else', async () => {
    const turns = createTurns({ limit: 2, maxQueue: 8 });
    for (let i = 0; i < 3; i++) turns.take('greedy', calm).catch(() => undefined);
    await expect(turns.take('greedy', calm)).rejects.toMatchObject({ code: 'OVERLOADED' });
    await expect(turns.take('modest', calm)).resolves.toBeInstanceOf(Function);
  });

  test('are refused where the queue is full', async () => {
    const turns = createTurns({ limit: 1, maxQueue: 1 });
    await turns.take('a', calm);
    turns.take('b', calm).catch(() => undefined);
    await settled();
    await expect(turns.take('c', calm)).rejects.toMatchObject({ code: 'OVERLOADED' });
    await expect(turns.take('c', calm)).rejects.toMatchObject({ code: 'OVERLOADED' });
  });

  test('whoever leaves the queue loses his place, and no turn is lost', async () => {
    const turns = createTurns({ limit: 1, maxQueue: 10 });
    const back = await turns.take('a', calm);
    const leaver = new AbortController();
    const left = turns.take('a', leaver.signal);
    const stays = turns.take('a', calm);
    leaver.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    expect(turns.waiting).toBe(1);
    back();
    await stays;
    await expect(turns.take('a', leaver.signal)).rejects.toThrow('left');
    expect([turns.taken, turns.waiting]).toEqual([1, 0]);
  });
});
