import { expect, test } from '@jest/globals';
import { WorkloadMemory } from '../concurrency/workload-memory.ts';
import { DeliveryHistory } from './delivery-history.ts';

const pod = (instance: string, tenant = 'shop') => ({ tenant, instance });

test('a delivery is recorded by workload and key', () => {
  const history = new DeliveryHistory(new WorkloadMemory());
  history.add(pod('a'), 'db');
  expect(history.has(pod('a'), 'db')).toBe(true);
  expect(history.has(pod('a'), 'other')).toBe(false);
  expect(history.has(pod('b'), 'db')).toBe(false);
  expect(history.has(pod('a', 'other'), 'db')).toBe(false);
});

test('the keys of a workload are bounded, and the last one is kept', () => {
  const history = new DeliveryHistory(new WorkloadMemory(), { maxKeys: 2 });
  for (const key of ['1', '2', '3']) history.add(pod('a'), key);
  expect(['1', '2', '3'].filter((key) => history.has(pod('a'), key))).toEqual(['3']);
});

test('a workload is charged for each of its keys', () => {
  const memory = new WorkloadMemory();
  const history = new DeliveryHistory(memory);
  for (let n = 0; n < 100; n += 1) history.add(pod('a'), `${n}`.padEnd(4_000, '.'));
  history.add(pod('a'), 'short');
  expect(memory.bytes).toBeGreaterThan(400_000);
});

test('a workload whose keys are dropped is charged for the last one only', () => {
  const memory = new WorkloadMemory();
  const history = new DeliveryHistory(memory, { maxKeys: 2 });
  for (const key of ['1', '2', '3']) history.add(pod('a'), key.padEnd(4_000, '.'));
  expect(memory.bytes).toBeLessThan(5_000);
});
