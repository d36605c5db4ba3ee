import { describe, expect, test } from '@jest/globals';
import type { Grant } from '../core/provider.ts';
import type { Workload } from '../core/workload.ts';
import { createVolumeHistory } from './volume-history.ts';

const pod = (volume: string, className?: string): Workload => ({
  tenant: 'shop',
  identity: { name: 'web' },
  instance: 'uid',
  volume,
  ...(className !== undefined && { className }),
  tokens: new Map(),
  secrets: new Map(),
});
const under = (identity: 'own' | 'shared'): Grant[] => [
  { principal: { identity } } as unknown as Grant,
];

describe('what is remembered of a volume', () => {
  test('its class, for rotations that name none', () => {
    const volumes = createVolumeHistory();
    expect(volumes.classOf(pod('v'))).toBe('unknown');
    volumes.remember(pod('v', 'web'), under('shared'));
    expect(volumes.classOf(pod('v'))).toBe('web');
    volumes.remember(pod('v'), under('shared'));
    expect(volumes.classOf(pod('v'))).toBe('web');
  });

  test('once served under its own identity, it is never served under a shared one', () => {
    const volumes = createVolumeHistory();
    volumes.remember(pod('v'), under('own'));
    volumes.checkIdentity(pod('v'), under('own'));
    expect(() => volumes.checkIdentity(pod('v'), under('shared'))).toThrow(
      expect.objectContaining({ code: 'IDENTITY_DOWNGRADE' }),
    );
    volumes.checkIdentity(pod('another'), under('shared'));
  });

  test('a shared identity may give way to its own, and then not come back', () => {
    const volumes = createVolumeHistory();
    volumes.remember(pod('v'), under('shared'));
    volumes.checkIdentity(pod('v'), under('own'));
    volumes.remember(pod('v'), under('own'));
    expect(() => volumes.checkIdentity(pod('v'), under('shared'))).toThrow();
  });
});
