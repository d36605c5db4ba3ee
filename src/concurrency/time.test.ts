import { expect, test } from '@jest/globals';
import { isRecent } from './time.ts';

test('isRecent is true for less than the given time, and false for the future', () => {
  expect([1_000, 1_001, 1_099, 1_100].map((at) => isRecent(1_000, 100, at))).toEqual([
    true,
    true,
    true,
    false,
  ]);
  expect(isRecent(1_001, 100, 1_000)).toBe(false);
  expect(isRecent(undefined, 100, 1_000)).toBe(false);
});
