import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SecretError } from '../core/errors.ts';
import { createRefusals } from './rejection-cache.ts';

const refused = new SecretError('CREDENTIALS_REFUSED', 'the key was refused');
const minute = 60_000;

function atTime(options: { max?: number } = {}) {
  const clock = { now: 0 };
  const refusals = createRefusals({ now: () => clock.now, ...options });
  const isOpen = (key: string): boolean => {
    try {
      refusals.check(key);
      return true;
    } catch (error) {
      expect(error).toBe(refused);
      return false;
    }
  };
  /** Refuses and measures, to the second, how long the window lasts. */
  const windowAfterRefusal = (key: string): number => {
    const since = clock.now;
    refusals.refuse(key, refused);
    while (!isOpen(key)) clock.now += 1_000;
    return clock.now - since;
  };
  return { clock, refusals, isOpen, windowAfterRefusal };
}

describe('refusals', () => {
  test('double their window from one minute to ten', () => {
    const { windowAfterRefusal } = atTime();
    const windows = [1, 2, 3, 4, 5, 6].map(() => windowAfterRefusal('key') / minute);
    expect(windows).toEqual([1, 2, 4, 8, 10, 10]);
  });

  test('leave other credentials alone', () => {
    const { refusals, isOpen } = atTime();
    refusals.refuse('key', refused);
    expect([isOpen('key'), isOpen('changed key')]).toEqual([false, true]);
  });

  test('are forgotten once the credential is taken, or when long over', () => {
    const { clock, refusals, windowAfterRefusal } = atTime();
    windowAfterRefusal('key');
    expect(windowAfterRefusal('key')).toBe(2 * minute);
    refusals.accept('key');
    expect(windowAfterRefusal('key')).toBe(minute);
    clock.now += 10 * minute;
    expect(windowAfterRefusal('key')).toBe(minute);
  });

  test('do not outlast a clock that was fast', () => {
    const { clock, refusals, isOpen } = atTime();
    clock.now = 86_400_000;
    refusals.refuse('key', refused);
    expect(isOpen('key')).toBe(false);
    clock.now = 0;
    expect(isOpen('key')).toBe(true);
    refusals.refuse('key', refused);
    expect(isOpen('key')).toBe(false);
  });

  test('count a burst of refusals once', () => {
    const { refusals, windowAfterRefusal } = atTime();
    refusals.refuse('key', refused);
    refusals.refuse('key', refused);
    expect(windowAfterRefusal('key')).toBe(minute);
    expect(windowAfterRefusal('key')).toBe(2 * minute);
  });

  test('are bounded in number: the oldest goes', () => {
    const { refusals, isOpen } = atTime({ max: 2 });
    for (const key of ['1', '2', '3']) refusals.refuse(key, refused);
    expect(['1', '2', '3'].map(isOpen)).toEqual([true, false, false]);
  });

  test('let a wrong credential through at most twice in its first three minutes, whoever asks when', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 2_000 }), { maxLength: 200 }), (pauses) => {
        const { clock, refusals, isOpen } = atTime();
        const tries: number[] = [];
        for (const pause of pauses) {
          clock.now += pause;
          if (!isOpen('key')) continue;
          tries.push(clock.now);
          refusals.refuse('key', refused);
        }
        const first = tries[0] ?? 0;
        expect(tries.filter((at) => at - first < 3 * minute).length).toBeLessThanOrEqual(2);
      }),
    );
  });
});
