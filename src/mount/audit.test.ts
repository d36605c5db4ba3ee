import { describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { SecretError } from '../core/errors.ts';
import type { Grant, Outcome } from '../core/provider.ts';
import { createAudit } from './audit.ts';

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

function trail() {
  const lines: Record<string, unknown>[] = [];
  let time = 0;
  const log = pino(
    { base: null },
    { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  );
  const audit = createAudit({ log, now: () => time });
  return { audit, lines, pass: (ms: number) => void (time += ms) };
}

describe('the audit trail', () => {
  const asked = { provider: 'local', namespace: 'shop', pod: 'web-0', class: 'web' };

  test('has a line for a first delivery, a new version and a new principal, and none for a repetition', () => {
    const { audit, lines } = trail();
    expect(audit.delivered(asked, [grantFor('a')], [outcome('v1')])).toBe(true);
    expect(audit.delivered(asked, [grantFor('a')], [outcome('v1')])).toBe(false);
    expect(audit.delivered(asked, [grantFor('a')], [outcome('v2')])).toBe(true);
    expect(audit.delivered(asked, [grantFor('a', 'q')], [outcome('v2')])).toBe(true);
    expect(audit.delivered(asked, [grantFor('b')], [outcome('v2')])).toBe(true);
    expect(lines.map((line) => line.audit)).toEqual([
      'delivered',
      'changed',
      'changed',
      'delivered',
    ]);
    expect(lines[0]).toMatchObject({
      ...asked,
      service: 'local',
      object: 'db',
      version: 'v1',
      principal: 'node',
    });
    expect(JSON.stringify(lines)).not.toContain('canary');
  });

  test('counts the repetitions of a refusal within a minute', () => {
    const { audit, lines, pass } = trail();
    const refused = new SecretError('NOT_GRANTED', 'no');
    for (let i = 0; i < 5; i++) audit.refused(asked, refused);
    audit.refused({ ...asked, pod: 'web-1' }, refused);
    pass(60_000);
    audit.refused(asked, refused);
    expect(lines.map(({ pod, repeats }) => [pod, repeats])).toEqual([
      ['web-0', 0],
      ['web-1', 0],
      ['web-0', 4],
    ]);
  });

  test('is not silenced by a clock that was fast', () => {
    const { audit, lines, pass } = trail();
    const refused = new SecretError('NOT_GRANTED', 'no');
    pass(86_400_000);
    audit.refused(asked, refused);
    pass(-86_400_000);
    audit.refused(asked, refused);
    expect(lines).toHaveLength(2);
  });

  test('leaves out what is no refusal', () => {
    const { audit, lines } = trail();
    audit.refused(asked, new SecretError('STORE_UNAVAILABLE', 'away'));
    expect(lines).toEqual([]);
  });
});
