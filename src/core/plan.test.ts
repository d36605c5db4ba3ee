import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type SecretRef, refKey } from './plan.ts';

const text = fc.oneof(fc.constantFrom('', '-', '1:a', '0:', 'a', 'a-', '-a', '2:aa'), fc.string());
const ref: fc.Arbitrary<SecretRef> = fc.record(
  {
    service: text,
    name: text,
    region: text,
    endpoint: text,
    role: text,
    version: text,
    stage: text,
    method: fc.constantFrom('GET' as const, 'POST' as const, 'PUT' as const),
    body: text,
  },
  { requiredKeys: ['service', 'name'] },
);

describe('a ref’s key', () => {
  test('is equal exactly when the refs are', () => {
    const same = (one: SecretRef, other: SecretRef): boolean =>
      JSON.stringify(Object.entries(one).sort()) === JSON.stringify(Object.entries(other).sort());
    fc.assert(
      fc.property(ref, ref, (one, other) =>
        expect(refKey(one) === refKey(other)).toBe(same(one, other)),
      ),
      { numRuns: 1_000 },
    );
  });

  test('differs with every field, and when a field is absent', () => {
    const fields = ['name', 'region', 'endpoint', 'role', 'version', 'stage', 'body'] as const;
    const base: SecretRef = { service: 'csms', name: '' };
    const keys = fields.flatMap((field) => [
      refKey({ ...base, [field]: '' }),
      refKey({ ...base, [field]: 'x' }),
    ]);
    expect(new Set([refKey(base), ...keys]).size).toBe(2 * fields.length);
  });

  test('does not depend on characters at the boundaries of fields', () => {
    expect(refKey({ service: 'a', name: 'b1:c' })).not.toBe(
      refKey({ service: 'a', name: 'b', region: 'c' }),
    );
    expect(refKey({ service: 'ab', name: 'c' })).not.toBe(refKey({ service: 'a', name: 'bc' }));
  });

  test('does not depend on fallbacks', () => {
    const primary: SecretRef = { service: 'secretsmanager', name: 'db', region: 'eu-west-1' };
    const fallbacks = [{ ...primary, region: 'us-east-1' }];
    expect(refKey({ ...primary, fallbacks })).toBe(refKey(primary));
    expect(refKey(fallbacks[0]!)).not.toBe(refKey(primary));
  });
});
