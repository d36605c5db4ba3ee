import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WaitQueue } from './wait-queue.ts';

const neverAborted = new AbortController().signal;
const flushPromises = (): Promise<void> => new Promise(setImmediate);

type Command =
  | { readonly kind: 'wait'; readonly namespace: string }
  | { readonly kind: 'abort'; readonly index: number }
  | { readonly kind: 'resume' };

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      namespace: fc.constantFrom('a', 'b', 'c', '__proto__'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('abort' as const), index: fc.nat({ max: 60 }) }),
  },
  { weight: 3, arbitrary: fc.constant({ kind: 'resume' } as const) },
);

describe('a wait queue', () => {
  test('resumes waiters in order of arrival, and namespaces in turn', async () => {
    const queue = new WaitQueue();
    const resumed: string[] = [];
    for (const label of ['a1', 'a2', 'a3', 'b1', 'c1']) {
      const namespace = label.charAt(0);
      void queue.wait(namespace, neverAborted, undefined).then(() => resumed.push(label));
    }
    expect([queue.size, queue.sizeOf('a'), queue.sizeOf('z')]).toEqual([5, 3, 0]);
    while (queue.resumeNext()) await flushPromises();
    expect(resumed).toEqual(['a1', 'b1', 'c1', 'a2', 'a3']);
    expect(queue.size).toBe(0);
  });

  test('shows the request of the next waiter', () => {
    const queue = new WaitQueue<number>();
    expect(queue.peek()).toBeUndefined();
    void queue.wait('a', neverAborted, 1);
    void queue.wait('a', neverAborted, 2);
    void queue.wait('b', neverAborted, 3);
    const requests: unknown[] = [];
    do requests.push(queue.peek());
    while (queue.resumeNext());
    expect(requests).toEqual([1, 3, 2, undefined]);
  });

  test('removes a waiter whose signal fires, before it reports the abort', async () => {
    const sizes: number[] = [];
    const queue: WaitQueue = new WaitQueue({ onAbort: () => sizes.push(queue.size) });
    const caller = new AbortController();
    const aborted = queue.wait('a', caller.signal, undefined);
    const other = queue.wait('a', neverAborted, undefined);
    caller.abort(new Error('left'));
    expect(sizes).toEqual([1]);
    await expect(aborted).rejects.toThrow('left');
    expect(queue.resumeNext()).toBe(true);
    await other;
    expect(queue.resumeNext()).toBe(false);
  });

  test('does not enqueue a caller whose signal has fired', async () => {
    const queue = new WaitQueue({ onAbort: () => expect('a waiter').toBe('absent') });
    const signal = AbortSignal.abort(new Error('left'));
    await expect(queue.wait('a', signal, undefined)).rejects.toThrow('left');
    expect(queue.size).toBe(0);
  });

  test('ignores a signal that fires after the waiter was resumed', async () => {
    let aborts = 0;
    const queue = new WaitQueue({ onAbort: () => (aborts += 1) });
    const caller = new AbortController();
    const waiting = queue.wait('a', caller.signal, undefined);
    queue.resumeNext();
    caller.abort(new Error('left'));
    await waiting;
    expect(aborts).toBe(0);
  });

  test('loses no waiter, resumes none twice, removes the aborted ones and keeps the order', async () => {
    const commands = fc.array(command, { maxLength: 60, size: 'max' });
    const property = fc.asyncProperty(commands, async (steps) => {
      let abortCount = 0;
      const queue = new WaitQueue<number>({ onAbort: () => (abortCount += 1) });
      const waiters: { namespace: string; controller: AbortController; settlements: string[] }[] =
        [];
      /** The ids that wait, and the namespaces in the order in which they are served. */
      let waitingIds: number[] = [];
      let round: string[] = [];
      const expected: string[][] = [];
      const namespaceOf = (id: number): string => waiters[id]!.namespace;
      const leave = (id: number, settlement: string): void => {
        expected[id]!.push(settlement);
        waitingIds = waitingIds.filter((other) => other !== id);
        round = round.filter((name) => waitingIds.some((other) => namespaceOf(other) === name));
      };

      for (const step of steps) {
        if (step.kind === 'wait') {
          const id = waiters.length;
          const { namespace } = step;
          const controller = new AbortController();
          const settlements: string[] = [];
          waiters.push({ namespace, controller, settlements });
          expected.push([]);
          queue.wait(namespace, controller.signal, id).then(
            () => settlements.push('resumed'),
            (error: unknown) => settlements.push((error as Error).message),
          );
          waitingIds.push(id);
          if (!round.includes(namespace)) round.push(namespace);
        } else if (step.kind === 'abort') {
          // A waiter that has already left the queue must not notice the abort.
          const id = step.index % Math.max(1, waiters.length);
          waiters[id]?.controller.abort(new Error('aborted'));
          if (waitingIds.includes(id)) leave(id, 'aborted');
        } else {
          const namespace = round.shift();
          const next = waitingIds.find((id) => namespaceOf(id) === namespace);
          expect(queue.peek()).toBe(next);
          expect(queue.resumeNext()).toBe(next !== undefined);
          if (namespace !== undefined && next !== undefined) {
            round.push(namespace);
            leave(next, 'resumed');
          }
        }
        await flushPromises();
        expect(waiters.map(({ settlements }) => settlements)).toEqual(expected);
        expect(queue.size).toBe(waitingIds.length);
        for (const namespace of ['a', 'b', 'c', '__proto__']) {
          const inNamespace = waitingIds.filter((id) => namespaceOf(id) === namespace);
          expect(queue.sizeOf(namespace)).toBe(inNamespace.length);
        }
      }

      expect(abortCount).toBe(expected.filter(([settlement]) => settlement === 'aborted').length);
      let remaining = 0;
      while (queue.resumeNext()) remaining += 1;
      expect(remaining).toBe(waitingIds.length);
      await flushPromises();
      for (const { settlements } of waiters) expect(settlements).toHaveLength(1);
    });
    await fc.assert(property, { numRuns: 200 });
  });
});
