import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { rejectedError } from '../../test/fakes/failure.ts';
import { nextTurn } from '../../test/fakes/timers.ts';
import { SecretError } from '../core/errors.ts';
import { FairPlaces } from './fair-places.ts';

const neverAborted = new AbortController().signal;

/** Calls that the test ends. */
function createFixture(limit: number, maxQueue?: number) {
  const places = new FairPlaces({
    ...{ name: 'vault:8200', limit },
    ...(maxQueue !== undefined && { maxQueue }),
  });
  const running = new Map<string, (() => void)[]>();
  const countOf = (namespace: string): number => running.get(namespace)?.length ?? 0;

  async function start(namespace: string, calls = 1): Promise<void> {
    for (let call = 0; call < calls; call += 1) {
      const { signal } = new AbortController();
      void places.acquire(namespace, signal).then((release) => {
        running.set(namespace, [...(running.get(namespace) ?? []), release]);
      });
    }
    await nextTurn();
  }

  async function end(namespace: string, calls = 1): Promise<void> {
    for (const release of running.get(namespace)?.splice(0, calls) ?? []) release();
    await nextTurn();
  }

  return { places, start, end, countOf };
}

describe('places that namespaces share', () => {
  test('go to one busy namespace, but for a quarter', async () => {
    const { start, countOf } = createFixture(100);
    await start('a', 500);
    expect(countOf('a')).toBe(75);
  });

  test('all go to one namespace that starts 110 pods, one after the other', async () => {
    const { places, start, end, countOf } = createFixture(100);
    await start('a', 110);
    let ended = 0;
    while (countOf('a') > 0) {
      ended += 1;
      await end('a');
    }
    expect(ended).toBe(110);
    expect(places.isIdle).toBe(true);
  });

  test('are free for a neighbour at once while 500 slow calls of a namespace wait', async () => {
    const { start, countOf } = createFixture(100);
    await start('slow', 500);
    await start('neighbour', 10);
    expect(countOf('neighbour')).toBe(10);
  });

  test.each([
    [2, 40],
    [10, 6],
  ])('give each of %d busy namespaces at least %d', async (count, least) => {
    const { start, end, countOf } = createFixture(100);
    const namespaces = Array.from({ length: count }, (_, index) => `team-${index}`);
    await start('team-0', 200);
    for (const namespace of namespaces.slice(1)) await start(namespace, 200 / count);
    await end('team-0', 75);
    for (const namespace of namespaces) expect(countOf(namespace)).toBeGreaterThanOrEqual(least);
  });

  test('are given back to namespaces that wait, before the one that had most', async () => {
    const { start, end, countOf } = createFixture(100);
    await start('slow', 200);
    for (let index = 0; index < 50; index += 1) await start(`team-${index}`, 5);
    expect(countOf('team-49')).toBe(0);
    await end('slow', 50);
    expect(countOf('slow')).toBe(25);
    for (let index = 0; index < 50; index += 1)
      expect(countOf(`team-${index}`)).toBeGreaterThanOrEqual(1);
  });

  test('are free for the others when a caller leaves before its turn', async () => {
    const { places, start, end, countOf } = createFixture(1);
    await start('a');
    const caller = new AbortController();
    const waiting = rejectedError(places.acquire('b', caller.signal));
    await start('c');
    caller.abort(new SecretError('CANCELLED', 'left'));
    expect((await waiting).code).toBe('CANCELLED');
    await end('a');
    expect(countOf('c')).toBe(1);
  });

  test('refuse callers when too many of the namespace wait, and take those of others', async () => {
    const { places, start, end, countOf } = createFixture(1, 8);
    await start('a', 3);
    expect(await rejectedError(places.acquire('a', neverAborted))).toMatchObject({
      code: 'RATE_BUDGET_EXHAUSTED',
      // Without a count: the text of an event must repeat.
      message: 'too many calls wait for a connection to vault:8200',
    });
    await start('b');
    for (let call = 0; call < 3; call += 1) await end('a');
    expect([countOf('a'), countOf('b')]).toEqual([0, 1]);
  });

  test('are never more than there are, and none stays free while a namespace without one waits', async () => {
    const step = fc.record({
      namespace: fc.constantFrom('a', 'b', 'c', '__proto__'),
      kind: fc.constantFrom('start', 'start', 'end'),
    });
    const property = fc.asyncProperty(
      fc.integer({ min: 1, max: 8 }),
      fc.array(step, { maxLength: 40 }),
      async (limit, steps) => {
        const { start, end, countOf } = createFixture(limit);
        const started = new Map<string, number>();
        for (const { kind, namespace } of steps) {
          if (kind === 'start') started.set(namespace, (started.get(namespace) ?? 0) + 1);
          else
            started.set(namespace, (started.get(namespace) ?? 0) - Math.min(1, countOf(namespace)));
          await (kind === 'start' ? start : end)(namespace);
          const running = [...started.keys()].reduce((sum, name) => sum + countOf(name), 0);
          expect(running).toBeLessThanOrEqual(limit);
          for (const [name, calls] of started)
            if (running < limit && calls > 0) expect(countOf(name)).toBeGreaterThan(0);
        }
      },
    );
    await fc.assert(property, { numRuns: 50 });
  });
});
