import { expect, test } from '@jest/globals';
import { DeliveryHistory } from './delivery-history.ts';

test('a delivery is recorded by workload and key', () => {
  const history = new DeliveryHistory();
  history.add('pod-a', 'db');
  expect(history.has('pod-a', 'db')).toBe(true);
  expect(history.has('pod-a', 'other')).toBe(false);
  expect(history.has('pod-b', 'db')).toBe(false);
});

test('the least recently used workload is forgotten first', () => {
  const history = new DeliveryHistory({ maxInstances: 2 });
  history.add('a', 'db');
  history.add('b', 'db');
  history.has('a', 'db');
  history.add('c', 'db');
  expect(['a', 'b', 'c'].map((pod) => history.has(pod, 'db'))).toEqual([true, false, true]);
});

test('the keys of a workload are bounded, and the last one is kept', () => {
  const history = new DeliveryHistory({ maxKeysPerInstance: 2 });
  for (const key of ['1', '2', '3']) history.add('a', key);
  expect(['1', '2', '3'].filter((key) => history.has('a', key))).toEqual(['3']);
});
