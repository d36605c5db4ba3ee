import { jest } from '@jest/globals';

/**
 * Runs `work` while no timer fires, except when `work` advances them with Jest. So no timeout and no
 * pause depends on the load of the machine. Date and setImmediate stay real.
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

/** Gives pending I/O and promises a turn. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
