import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { sessionNameOf } from './sts.ts';

const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);
const accountName = fc.stringMatching(/^[a-z0-9][-a-z0-9.]{0,120}$/);

describe('the session name', () => {
  test('has the namespace and the ServiceAccount', () => {
    expect(sessionNameOf('team-a', 'app.v2')).toBe('team-a.app.v2');
    expect(sessionNameOf('n'.repeat(31), 's'.repeat(32))).toHaveLength(64);
  });

  test('cuts a long name, and keeps its beginning', () => {
    const [one, two] = ['x', 'y'].map((end) => sessionNameOf('team-a', `${'s'.repeat(60)}${end}`));
    expect(one).toMatch(/^team-a\.s{48}-[0-9a-f]{8}$/);
    expect(one).not.toBe(two);
  });

  test('is valid for STS and unique for any ServiceAccount', () => {
    fc.assert(
      fc.property(
        label,
        accountName,
        label,
        accountName,
        (namespace, name, otherNamespace, otherName) => {
          const session = sessionNameOf(namespace, name);
          expect(session).toMatch(/^[\w+=,.@-]{2,64}$/);
          expect(session.startsWith(`${namespace}.`.slice(0, 55))).toBe(true);
          const isSame = namespace === otherNamespace && name === otherName;
          expect(sessionNameOf(otherNamespace, otherName) === session).toBe(isSame);
        },
      ),
    );
  });
});
