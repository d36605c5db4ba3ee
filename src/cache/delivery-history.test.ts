import { expect, test } from '@jest/globals';
import { DeliveryHistory } from './keys.ts';

test('what was served is known by workload and key', () => {
  const history = new DeliveryHistory();
  history.add('pod-a', 'db');
  expect(history.has('pod-a', 'db')).toBe(true);
  expect(history.has('pod-a', 'other')).toBe(false);
  expect(history.has('pod-b', 'db')).toBe(false);
});

test('the workload that asked longest ago is forgotten first', () => {
  const history = new DeliveryHistory({ maxInstances: 2 });
  history.add('a', 'db');
  history.add('b', 'db');
  history.has('a', 'db');
  history.add('c', 'db');
  expect(['a', 'b', 'c'].map((pod) => history.has(pod, 'db'))).toEqual([true, false, true]);
});

test('a workload with more keys than its bound is bounded, and the last one is known', () => {
  const history = new DeliveryHistory({ maxKeysPerInstance: 2 });
  for (const key of ['1', '2', '3']) history.add('a', key);
  expect(['1', '2', '3'].filter((key) => history.has('a', key))).toEqual(['3']);
});
