import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { FairQueue } from './fair-queue.ts';

function drain<T>(queue: { shift(): T | undefined }): T[] {
  const all: T[] = [];
  for (let item = queue.shift(); item !== undefined; item = queue.shift()) all.push(item);
  return all;
}

describe('a fair queue', () => {
  test('serves namespaces in turn, and each in order of arrival', () => {
    const queue = new FairQueue<string>();
    for (const item of ['a1', 'a2', 'a3', 'b1', 'c1', 'c2']) queue.push(item.charAt(0), item);
    expect(drain(queue)).toEqual(['a1', 'b1', 'c1', 'a2', 'c2', 'a3']);
  });

  test('puts a namespace behind the others after it was served', () => {
    const queue = new FairQueue<string>();
    for (const item of ['a1', 'a2', 'b1']) queue.push(item.charAt(0), item);
    expect(queue.shift()).toBe('a1');
    queue.push('a', 'a3');
    expect(drain(queue)).toEqual(['b1', 'a2', 'a3']);
  });

  test('loses no item, keeps the order within a namespace, and serves no namespace twice while another waits', () => {
    const pushes = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c', '__proto__'), fc.boolean()), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(pushes, (calls) => {
        const queue = new FairQueue<{ namespace: string; order: number }>();
        const remaining = calls.flatMap(([namespace, isRemoved], order) => {
          const item = { namespace, order };
          queue.push(namespace, item);
          if (!isRemoved) return [item];
          expect(queue.remove(namespace, item)).toBe(true);
          expect(queue.remove(namespace, item)).toBe(false);
          return [];
        });
        expect(queue.size).toBe(remaining.length);
        const served = drain(queue);
        expect(queue.size).toBe(0);
        expect(new Set(served)).toEqual(new Set(remaining));
        for (const namespace of new Set(remaining.map((item) => item.namespace))) {
          const servedOfNamespace = served.filter((item) => item.namespace === namespace);
          expect(servedOfNamespace).toEqual(
            remaining.filter((item) => item.namespace === namespace),
          );
        }
        served.forEach((item, at) => {
          const next = served.findIndex(
            (other, later) => later > at && other.namespace === item.namespace,
          );
          if (next === -1) return;
          const between = new Set(served.slice(at + 1, next).map((other) => other.namespace));
          const stillWaiting = new Set(served.slice(next).map((other) => other.namespace));
          stillWaiting.delete(item.namespace);
          for (const other of stillWaiting) expect(between).toContain(other);
        });
      }),
    );
  });
});
