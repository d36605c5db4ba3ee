import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WorkloadMemory } from './workload-memory.ts';

const pod = (instance: string, tenant = 'shop') => ({ tenant, instance });

/** A memory for so many states of 10,000 bytes. */
function createFixture({ states = 10, gone = [] as string[] } = {}) {
  const memory = new WorkloadMemory({
    maxBytes: states * 10_600,
    presence: (instance) => (gone.includes(instance) ? 'gone' : 'unknown'),
  });
  const part = memory.createPart<string>();
  return {
    ...{ memory, part },
    remember: (instance: string, tenant?: string, bytes = 10_000) =>
      part.set(pod(instance, tenant), instance, bytes),
    remembered: () => [...part.values()].sort(),
  };
}

describe('the state of a workload', () => {
  test('is kept for each part by itself', () => {
    const memory = new WorkloadMemory();
    const [names, counts] = [memory.createPart<string>(), memory.createPart<number>()];
    names.set(pod('a'), 'first', 100);
    counts.set(pod('a'), 1, 100);
    names.set(pod('a'), 'second', 100);
    expect([names.get(pod('a')), counts.get(pod('a')), names.get(pod('b'))]).toEqual([
      'second',
      1,
      undefined,
    ]);
    expect(names.get(pod('a', 'other'))).toBeUndefined();
    expect([...counts.values()]).toEqual([1]);
  });

  test('counts with what it takes now', () => {
    const { memory, remember } = createFixture();
    remember('a');
    const once = memory.bytes;
    remember('a', 'shop', 20_000);
    expect(memory.bytes).toBe(once + 10_000);
    remember('a', 'shop', 10_000);
    expect(memory.bytes).toBe(once);
  });
});

describe('a full memory', () => {
  test('forgets the least recently used workloads of the namespace that takes the most', () => {
    const { part, remember, remembered } = createFixture({ states: 5 });
    remember('quiet', 'other');
    for (const name of ['a', 'b', 'c', 'd']) remember(name);
    part.get(pod('a'));
    remember('e');
    expect(remembered()).toEqual(['a', 'd', 'e', 'quiet']);
  });

  test('forgets what has left first', () => {
    const { remember, remembered } = createFixture({ states: 5, gone: ['c', 'e'] });
    for (const name of ['a', 'b', 'c', 'd', 'e']) remember(name);
    remember('f');
    expect(remembered()).toEqual(['a', 'b', 'd', 'f']);
  });

  test('keeps the state that was just set, also if it is too large', () => {
    const { remember, remembered } = createFixture({ states: 2 });
    remember('a');
    remember('huge', 'shop', 1_000_000);
    expect(remembered()).toEqual(['huge']);
  });

  test('never takes more than its bound and the last state, and counts what it has', () => {
    const step = fc.record({
      tenant: fc.constantFrom('a', 'b', 'c'),
      instance: fc.integer({ min: 0, max: 20 }).map(String),
      bytes: fc.integer({ min: 0, max: 30_000 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const { memory, remember, part } = createFixture({ gone: ['3', '7'] });
        for (const { tenant, instance, bytes } of steps) {
          remember(instance, tenant, bytes);
          expect(part.get(pod(instance, tenant))).toBe(instance);
          expect(memory.bytes).toBeLessThanOrEqual(10 * 10_600 + bytes + 512);
        }
        if (memory.bytes === 0) expect([...part.values()]).toEqual([]);
      }),
    );
  });
});
