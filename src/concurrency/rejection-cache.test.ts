import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SecretError } from '../core/errors.ts';
import { RejectionCache } from './rejection-cache.ts';

const rejectedError = new SecretError('CREDENTIALS_REFUSED', 'the key was refused');
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
  /** Refuses and measures, to the second, how long the window lasts. */
  const windowAfterRejection = (key: string): number => {
    const since = clock.now;
    rejections.recordRejection(key, rejectedError);
    while (!isOpen(key)) clock.now += 1_000;
    return clock.now - since;
  };
  return { clock, rejections, isOpen, windowAfterRejection };
}

describe('rejections', () => {
  test('double their window from one minute to ten', () => {
    const { windowAfterRejection } = createFixture();
    const windows = [1, 2, 3, 4, 5, 6].map(() => windowAfterRejection('key') / minute);
    expect(windows).toEqual([1, 2, 4, 8, 10, 10]);
  });

  test('leave other credentials alone', () => {
    const { rejections, isOpen } = createFixture();
    rejections.recordRejection('key', rejectedError);
    expect([isOpen('key'), isOpen('changed key')]).toEqual([false, true]);
  });

  test('are forgotten once the credential is taken, or when long over', () => {
    const { clock, rejections, windowAfterRejection } = createFixture();
    windowAfterRejection('key');
    expect(windowAfterRejection('key')).toBe(2 * minute);
    rejections.recordSuccess('key');
    expect(windowAfterRejection('key')).toBe(minute);
    clock.now += 10 * minute;
    expect(windowAfterRejection('key')).toBe(minute);
  });

  test('do not outlast a clock that was fast', () => {
    const { clock, rejections, isOpen } = createFixture();
    clock.now = 86_400_000;
    rejections.recordRejection('key', rejectedError);
    expect(isOpen('key')).toBe(false);
    clock.now = 0;
    expect(isOpen('key')).toBe(true);
    rejections.recordRejection('key', rejectedError);
    expect(isOpen('key')).toBe(false);
  });

  test('count a burst of rejections once', () => {
    const { rejections, windowAfterRejection } = createFixture();
    rejections.recordRejection('key', rejectedError);
    rejections.recordRejection('key', rejectedError);
    expect(windowAfterRejection('key')).toBe(minute);
    expect(windowAfterRejection('key')).toBe(2 * minute);
  });

  test('are bounded in number: the oldest goes', () => {
    const { rejections, isOpen } = createFixture({ max: 2 });
    for (const key of ['1', '2', '3']) rejections.recordRejection(key, rejectedError);
    expect(['1', '2', '3'].map(isOpen)).toEqual([true, false, false]);
  });

  test('let a wrong credential through at most twice in its first three minutes, whoever asks when', () => {
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
