import { expect, test } from '@jest/globals';
import { isRecent } from './time.ts';

test('recent is what was less than so long ago, and nothing of the future', () => {
  expect([1_000, 1_001, 1_099, 1_100].map((at) => isRecent(1_000, 100, at))).toEqual([
    true,
    true,
    true,
    false,
  ]);
  expect(isRecent(1_001, 100, 1_000)).toBe(false);
  expect(isRecent(undefined, 100, 1_000)).toBe(false);
});
