import { expect, test } from '@jest/globals';
import { createExpressionTime, createTimeLimit, isTimeout } from './expression-time.ts';

const flag = new Int32Array(new SharedArrayBuffer(4));
/** Takes wall time only, as everything does in a container that is throttled. */
const standStill = (ms: number): string => {
  Atomics.wait(flag, 0, 0, ms);
  return 'done';
};

test('work that stands still for longer than the limit gets its result', () => {
  expect(createTimeLimit(50)(createExpressionTime(), () => standStill(150))).toBe('done');
});

test('work that uses the CPU for longer than the limit is aborted', () => {
  let thrown: unknown;
  try {
    createTimeLimit(50)(createExpressionTime(), () => {
      for (;;);
    });
  } catch (error) {
    thrown = error;
  }
  expect(isTimeout(thrown)).toBe(true);
});
