import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SecretError } from '../core/errors.ts';
import { createRejectionCache } from './rejection-cache.ts';

const rejectedError = new SecretError('CREDENTIALS_REFUSED', 'the key was refused');
const minute = 60_000;

function createFixture(options: { max?: number } = {}) {
  const clock = { now: 0 };
  const refusals = createRejectionCache({ now: () => clock.now, ...options });
  const isOpen = (key: string): boolean => {
    try {
      refusals.throwIfRejected(key);
      return true;
    } catch (error) {
      expect(error).toBe(rejectedError);
      return false;
    }
  };
  /** Refuses and measures, to the second, how long the window lasts. */
  const windowAfterRefusal = (key: string): number => {
    const since = clock.now;
    refusals.recordRejection(key, rejectedError);
    while (!isOpen(key)) clock.now += 1_000;
    return clock.now - since;
  };
  return { clock, refusals, isOpen, windowAfterRefusal };
}

describe('refusals', () => {
  test('double their window from one minute to ten', () => {
    const { windowAfterRefusal } = createFixture();
    const windows = [1, 2, 3, 4, 5, 6].map(() => windowAfterRefusal('key') / minute);
    expect(windows).toEqual([1, 2, 4, 8, 10, 10]);
  });

  test('leave other credentials alone', () => {
    const { refusals, isOpen } = createFixture();
    refusals.recordRejection('key', rejectedError);
    expect([isOpen('key'), isOpen('changed key')]).toEqual([false, true]);
  });

  test('are forgotten once the credential is taken, or when long over', () => {
    const { clock, refusals, windowAfterRefusal } = createFixture();
    windowAfterRefusal('key');
    expect(windowAfterRefusal('key')).toBe(2 * minute);
    refusals.recordSuccess('key');
    expect(windowAfterRefusal('key')).toBe(minute);
    clock.now += 10 * minute;
    expect(windowAfterRefusal('key')).toBe(minute);
  });

  test('do not outlast a clock that was fast', () => {
    const { clock, refusals, isOpen } = createFixture();
    clock.now = 86_400_000;
    refusals.recordRejection('key', rejectedError);
    expect(isOpen('key')).toBe(false);
    clock.now = 0;
    expect(isOpen('key')).toBe(true);
    refusals.recordRejection('key', rejectedError);
    expect(isOpen('key')).toBe(false);
  });

  test('count a burst of refusals once', () => {
    const { refusals, windowAfterRefusal } = createFixture();
    refusals.recordRejection('key', rejectedError);
    refusals.recordRejection('key', rejectedError);
    expect(windowAfterRefusal('key')).toBe(minute);
    expect(windowAfterRefusal('key')).toBe(2 * minute);
  });

  test('are bounded in number: the oldest goes', () => {
    const { refusals, isOpen } = createFixture({ max: 2 });
    for (const key of ['1', '2', '3']) refusals.recordRejection(key, rejectedError);
    expect(['1', '2', '3'].map(isOpen)).toEqual([true, false, false]);
  });

  test('let a wrong credential through at most twice in its first three minutes, whoever asks when', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 2_000 }), { maxLength: 200 }), (pauses) => {
        const { clock, refusals, isOpen } = createFixture();
        const attempts: number[] = [];
        for (const pause of pauses) {
          clock.now += pause;
          if (!isOpen('key')) continue;
          attempts.push(clock.now);
          refusals.recordRejection('key', rejectedError);
        }
        const first = attempts[0] ?? 0;
        expect(attempts.filter((at) => at - first < 3 * minute).length).toBeLessThanOrEqual(2);
      }),
    );
  });
});
