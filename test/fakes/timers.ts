import { jest } from '@jest/globals';

/**
 * Runs `work` while no timer fires, except when `work` advances them with Jest. So no timeout and
 * no pause depends on the load of the machine. Date and setImmediate stay real.
 */
export async function withFrozenTimers<T>(work: () => Promise<T>): Promise<T> {
  jest.useFakeTimers({
    doNotFake: [
      'Date',
      'clearImmediate',
      'hrtime',
      'nextTick',
      'performance',
      'queueMicrotask',
      'setImmediate',
    ],
  });
  try {
    return await work();
  } finally {
    jest.useRealTimers();
  }
}

/** Lets pending I/O and promises run. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * Waits until `isTrue` returns true. It has no timeout of its own: Jest ends a test that waits too
 * long.
 */
export async function eventually(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 1));
}
