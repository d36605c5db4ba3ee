import { describe, expect, test } from '@jest/globals';
import { thrownSummary } from '../../../../test/fakes/failure.ts';
import { Redacted } from '../../../core/redacted.ts';
import type { Workload } from '../../../core/workload.ts';
import { readWorkloadToken } from './workload-token.ts';

const now = Date.UTC(2026, 0, 1);
const audience = 'sts.example.com';

const jwt = (claims: unknown): string =>
  `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`;

const validClaims = {
  sub: 'system:serviceaccount:team-a:app',
  aud: [audience, 'other'],
  exp: now / 1_000 + 3_600,
  iss: 'https://kubernetes.default.svc',
  'kubernetes.io': {
    namespace: 'team-a',
    pod: { uid: 'pod-uid' },
    serviceaccount: { name: 'app', uid: 'sa-uid' },
  },
};

const workload = (tokens: Record<string, string>): Workload => ({
  tenant: 'team-a',
  identity: { name: 'app' },
  instance: 'pod-uid',
  volume: 'pod-uid',
  tokens: new Map(
    Object.entries(tokens).map(([name, token]) => [name, { token: new Redacted(token) }]),
  ),
  secrets: new Map(),
});

const errorOf = (tokens: Record<string, string>): string =>
  thrownSummary(() => readWorkloadToken(workload(tokens), audience, now));

test('accepts a token with matching claims and returns the claims', () => {
  const token = readWorkloadToken(workload({ [audience]: jwt(validClaims) }), audience, now);
  expect(token).toMatchObject({
    expiresAt: now + 3_600_000,
    issuer: 'https://kubernetes.default.svc',
    serviceAccountUid: 'sa-uid',
    podUid: 'pod-uid',
  });
  expect(token.token.reveal()).toBe(jwt(validClaims));
  expect(JSON.stringify(token)).not.toContain(jwt(validClaims));
});

test('accepts a single audience and missing optional claims', () => {
  const { sub, exp } = validClaims;
  expect(errorOf({ [audience]: jwt({ sub, exp, aud: audience }) })).toBe('taken');
});

test('names only a few of many audiences when a token is missing', () => {
  const many = Object.fromEntries(
    Array.from({ length: 200 }, (_, index) => [`${index}`.repeat(60), 'x']),
  );
  expect(errorOf(many).length).toBeLessThan(1_500);
  expect(errorOf(many)).toContain('and 195 more');
});

test('names the present audiences and the remedy when a token is missing', () => {
  expect(errorOf({})).toBe(
    'TOKEN_MISSING: the driver sent no token for the audience sts.example.com, nor any other; ' +
      'add "- audience: sts.example.com" to tokenRequests in the values of the driver\'s chart',
  );
  expect(errorOf({ vault: jwt(validClaims) })).toContain('only for vault');
});

describe('rejects', () => {
  test.each([
    [
      'of another account',
      { ...validClaims, sub: 'system:serviceaccount:team-a:admin' },
      'belongs to system:serviceaccount:team-a:admin, not to',
    ],
    [
      'of another namespace',
      { ...validClaims, sub: 'system:serviceaccount:team-b:app' },
      'belongs to system:serviceaccount:team-b:app, not to',
    ],
    ['of a user', { ...validClaims, sub: 'admin' }, 'belongs to admin, not to'],
    ['for another audience', { ...validClaims, aud: ['other'] }, 'is for another audience'],
    [
      'that has expired',
      { ...validClaims, exp: now / 1_000 - 60 },
      'expired at 2025-12-31T23:59:00.000Z',
    ],
    ['without an expiry', { ...validClaims, exp: undefined }, 'is not a ServiceAccount token'],
    ['with an absurd expiry', { ...validClaims, exp: -1e300 }, 'expired at an invalid time'],
    ['without a subject', { ...validClaims, sub: 7 }, 'is not a ServiceAccount token'],
  ])('a token %s', (_, claims, message) => {
    expect(errorOf({ [audience]: jwt(claims) })).toContain(message);
    expect(errorOf({ [audience]: jwt(claims) })).toMatch(/^TOKEN_INVALID/);
  });

  test.each(['', 'x', 'a.b', 'a.b.c', 'a.bnVsbA.c', `a.${'A'.repeat(100_000)}.c`, 'a.e30.b.c'])(
    'a text that is not a token: %#',
    (text) => {
      expect(errorOf({ [audience]: text })).toContain('is not a ServiceAccount token');
    },
  );

  test.each(['\n', '\r\nx-evil: 1', ' ', '\u00e9', '\u{1f600}', '='])(
    'a token with characters that a header cannot contain: %j',
    (invalidText) => {
      expect(errorOf({ [audience]: invalidText + jwt(validClaims) })).toContain(
        'is not a ServiceAccount token',
      );
      expect(errorOf({ [audience]: jwt(validClaims) + invalidText })).toContain(
        'is not a ServiceAccount token',
      );
    },
  );

  test('accepts a small difference of clocks', () => {
    expect(errorOf({ [audience]: jwt({ ...validClaims, exp: now / 1_000 - 10 }) })).toBe('taken');
  });

  test('never has the token in a message', () => {
    const forged = jwt({ ...validClaims, sub: 'x' });
    expect(errorOf({ [audience]: forged })).not.toContain(forged.split('.')[1]);
  });
});
