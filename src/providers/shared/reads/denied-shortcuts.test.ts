import { describe, expect, test } from '@jest/globals';
import type { FetchRequest } from '../../../core/provider.ts';
import { DeniedShortcuts } from './denied-shortcuts.ts';

/** A request of a pod of shop/web. */
const request = {
  grant: {
    ref: { region: 'eu-west-1' },
    principal: { identity: 'role' },
    workload: { tenant: 'shop', identity: { name: 'web' } },
  },
} as unknown as FetchRequest;

describe('a denied shortcut', () => {
  test('is allowed again after an hour, and at once after the clock was set back', () => {
    const clock = { ms: 86_400_000 };
    const deniedShortcuts = new DeniedShortcuts<'batch'>({ now: () => clock.ms });
    const isAllowedAt = (ms: number): boolean => {
      clock.ms = ms;
      return deniedShortcuts.isAllowed('batch', request);
    };
    expect(isAllowedAt(86_400_000)).toBe(true);
    deniedShortcuts.recordDenied('batch', request);
    expect([0, 3_599_999, 3_600_000, -1].map((offset) => isAllowedAt(86_400_000 + offset))).toEqual(
      [...[false, false, true, true]],
    );
  });
});
