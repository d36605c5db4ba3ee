import { describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { SecretError } from '../core/errors.ts';
import type { Grant, Outcome } from '../core/provider.ts';
import { Audit } from './audit.ts';

const ref = { service: 'local', name: 'db' };
const grantFor = (instance: string, fingerprint = 'p'): Grant =>
  ({
    ref,
    workload: { instance },
    principal: { fingerprint, description: 'node' },
  }) as unknown as Grant;
const outcome = (version: string): Outcome => ({
  kind: 'value',
  ref,
  served: ref,
  value: { bytes: Buffer.from('canary-value'), version },
});

function createFixture() {
  const lines: Record<string, unknown>[] = [];
  let time = 0;
  const log = pino(
    { base: null },
    { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  );
  const audit = new Audit({ log, now: () => time });
  return { audit, lines, advance: (ms: number) => void (time += ms) };
}

describe('the audit log', () => {
  const subject = { provider: 'local', namespace: 'shop', pod: 'web-0', class: 'web' };

  test('has a line for a first delivery, a new version and a new principal, and none for a repeat', () => {
    const { audit, lines } = createFixture();
    expect(audit.recordDelivery(subject, [grantFor('a')], [outcome('v1')])).toBe(true);
    expect(audit.recordDelivery(subject, [grantFor('a')], [outcome('v1')])).toBe(false);
    expect(audit.recordDelivery(subject, [grantFor('a')], [outcome('v2')])).toBe(true);
    expect(audit.recordDelivery(subject, [grantFor('a', 'q')], [outcome('v2')])).toBe(true);
    expect(audit.recordDelivery(subject, [grantFor('b')], [outcome('v2')])).toBe(true);
    expect(lines.map((line) => line.audit)).toEqual([
      'delivered',
      'changed',
      'changed',
      'delivered',
    ]);
    expect(lines[0]).toMatchObject({
      ...subject,
      service: 'local',
      object: 'db',
      version: 'v1',
      principal: 'node',
    });
    expect(JSON.stringify(lines)).not.toContain('canary');
  });

  test('counts the repeats of a denial within a minute', () => {
    const { audit, lines, advance } = createFixture();
    const denial = new SecretError('NOT_GRANTED', 'no');
    for (let i = 0; i < 5; i++) audit.recordDenial(subject, denial);
    audit.recordDenial({ ...subject, pod: 'web-1' }, denial);
    advance(60_000);
    audit.recordDenial(subject, denial);
    expect(lines.map(({ pod, repeats }) => [pod, repeats])).toEqual([
      ['web-0', 0],
      ['web-1', 0],
      ['web-0', 4],
    ]);
  });

  test('has the request id of the store, and counts a denial with another id as a repeat', () => {
    const { audit, lines } = createFixture();
    for (const requestId of ['r-1', 'r-2'])
      audit.recordDenial(subject, new SecretError('ACCESS_DENIED', 'no', { requestId }));
    expect(lines).toMatchObject([{ reason: 'no', requestId: 'r-1' }]);
  });

  test('logs a denial after the clock was set back', () => {
    const { audit, lines, advance } = createFixture();
    const denial = new SecretError('NOT_GRANTED', 'no');
    advance(86_400_000);
    audit.recordDenial(subject, denial);
    advance(-86_400_000);
    audit.recordDenial(subject, denial);
    expect(lines).toHaveLength(2);
  });

  test('ignores errors that are not a denial', () => {
    const { audit, lines } = createFixture();
    audit.recordDenial(subject, new SecretError('STORE_UNAVAILABLE', 'away'));
    expect(lines).toEqual([]);
  });
});
