import { describe, expect, test } from '@jest/globals';
import type { FetchRequest } from '../../../core/provider.ts';
import { createRights } from './denied-shortcuts.ts';

/** Of a pod of shop/web. */
const request = {
  grant: {
    ref: { region: 'eu-west-1' },
    principal: { identity: 'role' },
    workload: { namespace: 'shop', serviceAccount: { name: 'web' } },
  },
} as unknown as FetchRequest;

describe('a right that was missing', () => {
  test('is tried again after an hour, and at once where the clock was set back', () => {
    const clock = { ms: 86_400_000 };
    const rights = createRights<'batch'>({ now: () => clock.ms });
    const mayTake = (ms: number): boolean => {
      clock.ms = ms;
      return rights.mayTake('batch', request);
    };
    expect(mayTake(86_400_000)).toBe(true);
    rights.isDenied('batch', request);
    expect([0, 3_599_999, 3_600_000, -1].map((later) => mayTake(86_400_000 + later))).toEqual([
      ...[false, false, true, true],
    ]);
  });
});
