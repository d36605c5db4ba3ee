import { describe, expect, test } from '@jest/globals';
import type { Grant } from '../core/provider.ts';
import type { Workload } from '../core/workload.ts';
import { VolumeHistory } from './volume-history.ts';

const pod = (volume: string, className?: string): Workload => ({
  tenant: 'shop',
  identity: { name: 'web' },
  instance: 'uid',
  volume,
  ...(className !== undefined && { className }),
  tokens: new Map(),
  secrets: new Map(),
});
const under = (kind: 'own' | 'shared'): Grant[] => [{ principal: { kind } } as unknown as Grant];

describe('the volume history', () => {
  test('remembers the class for rotations without a class name', () => {
    const history = new VolumeHistory();
    expect(history.classOf(pod('v'))).toBe('unknown');
    history.recordDelivery(pod('v', 'web'), under('shared'));
    expect(history.classOf(pod('v'))).toBe('web');
    history.recordDelivery(pod('v'), under('shared'));
    expect(history.classOf(pod('v'))).toBe('web');
  });

  test('rejects a shared identity after the workload’s own identity', () => {
    const history = new VolumeHistory();
    history.recordDelivery(pod('v'), under('own'));
    history.checkIdentity(pod('v'), under('own'));
    expect(() => history.checkIdentity(pod('v'), under('shared'))).toThrow(
      expect.objectContaining({ code: 'IDENTITY_DOWNGRADE' }),
    );
    history.checkIdentity(pod('another'), under('shared'));
  });

  test('accepts the workload’s own identity after a shared one, and no shared one after that', () => {
    const history = new VolumeHistory();
    history.recordDelivery(pod('v'), under('shared'));
    history.checkIdentity(pod('v'), under('own'));
    history.recordDelivery(pod('v'), under('own'));
    expect(() => history.checkIdentity(pod('v'), under('shared'))).toThrow();
  });
});
