import { expect, test } from '@jest/globals';
import { createServed } from './keys.ts';

test('what was served is known by workload and key', () => {
  const served = createServed();
  served.add('pod-a', 'db');
  expect(served.has('pod-a', 'db')).toBe(true);
  expect(served.has('pod-a', 'other')).toBe(false);
  expect(served.has('pod-b', 'db')).toBe(false);
});

test('the workload that asked longest ago is forgotten first', () => {
  const served = createServed({ instances: 2 });
  served.add('a', 'db');
  served.add('b', 'db');
  served.has('a', 'db');
  served.add('c', 'db');
  expect(['a', 'b', 'c'].map((pod) => served.has(pod, 'db'))).toEqual([true, false, true]);
});

test('a workload with more keys than its bound is bounded, and the last one is known', () => {
  const served = createServed({ perInstance: 2 });
  for (const key of ['1', '2', '3']) served.add('a', key);
  expect(['1', '2', '3'].filter((key) => served.has('a', key))).toEqual(['3']);
});
