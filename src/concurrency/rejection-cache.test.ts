import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SecretError } from '../core/errors.ts';
import { RejectionCache } from './rejection-cache.ts';

const rejectedError = new SecretError('CREDENTIALS_REFUSED', 'the key was rejected');
const minute = 60_000;

function createFixture(options: { max?: number } = {}) {
  const clock = { now: 0 };
  const rejections = new RejectionCache({ now: () => clock.now, ...options });
  const isOpen = (key: string): boolean => {
    try {
      rejections.throwIfRejected(key);
      return true;
    } catch (error) {
      expect(error).toBe(rejectedError);
      return false;
    }
  };
  /** Records a rejection and measures, to the second, how long its window lasts. */
  const windowAfterRejection = (key: string): number => {
    const since = clock.now;
    rejections.recordRejection(key, rejectedError);
    while (!isOpen(key)) clock.now += 1_000;
    return clock.now - since;
  };
  return { clock, rejections, isOpen, windowAfterRejection };
}

describe('rejections', () => {
  test('have windows that double from one minute to ten', () => {
    const { windowAfterRejection } = createFixture();
    const windows = [1, 2, 3, 4, 5, 6].map(() => windowAfterRejection('key') / minute);
    expect(windows).toEqual([1, 2, 4, 8, 10, 10]);
  });

  test('do not affect other credentials', () => {
    const { rejections, isOpen } = createFixture();
    rejections.recordRejection('key', rejectedError);
    expect([isOpen('key'), isOpen('changed key')]).toEqual([false, true]);
  });

  test('are forgotten when the credential is accepted, or long after their window', () => {
    const { clock, rejections, windowAfterRejection } = createFixture();
    windowAfterRejection('key');
    expect(windowAfterRejection('key')).toBe(2 * minute);
    rejections.recordSuccess('key');
    expect(windowAfterRejection('key')).toBe(minute);
    clock.now += 10 * minute;
    expect(windowAfterRejection('key')).toBe(minute);
  });

  test('end when the clock is set back', () => {
    const { clock, rejections, isOpen } = createFixture();
    clock.now = 86_400_000;
    rejections.recordRejection('key', rejectedError);
    expect(isOpen('key')).toBe(false);
    clock.now = 0;
    expect(isOpen('key')).toBe(true);
    rejections.recordRejection('key', rejectedError);
    expect(isOpen('key')).toBe(false);
  });

  test('count once in one window', () => {
    const { rejections, windowAfterRejection } = createFixture();
    rejections.recordRejection('key', rejectedError);
    rejections.recordRejection('key', rejectedError);
    expect(windowAfterRejection('key')).toBe(minute);
    expect(windowAfterRejection('key')).toBe(2 * minute);
  });

  test('are bounded in number: the oldest is dropped first', () => {
    const { rejections, isOpen } = createFixture({ max: 2 });
    for (const key of ['1', '2', '3']) rejections.recordRejection(key, rejectedError);
    expect(['1', '2', '3'].map(isOpen)).toEqual([true, false, false]);
  });

  test('let a wrong credential through at most twice in its first three minutes', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 2_000 }), { maxLength: 200 }), (pauses) => {
        const { clock, rejections, isOpen } = createFixture();
        const attempts: number[] = [];
        for (const pause of pauses) {
          clock.now += pause;
          if (!isOpen('key')) continue;
          attempts.push(clock.now);
          rejections.recordRejection('key', rejectedError);
        }
        const first = attempts[0] ?? 0;
        expect(attempts.filter((at) => at - first < 3 * minute).length).toBeLessThanOrEqual(2);
      }),
    );
  });
});
