import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { compileNameGlob } from './name-glob.ts';

/** The definition of a glob. Slow for many wildcards. */
function matchesByDefinition(glob: string, name: string): boolean {
  if (glob === '') return name === '';
  const stars = /^\*+/.exec(glob)?.[0];
  if (stars === undefined)
    return name.startsWith(glob.charAt(0)) && matchesByDefinition(glob.slice(1), name.slice(1));
  for (let length = 0; length <= name.length; length += 1) {
    if (stars === '*' && name.slice(0, length).includes('/')) return false;
    if (matchesByDefinition(glob.slice(stars.length), name.slice(length))) return true;
  }
  return false;
}

const letters = fc.constantFrom('a', 'b', '/', '.', '{', '!');

describe('a name glob', () => {
  test.each([
    ['kms/eu/prod/db', 'kms/eu/prod/db', true],
    ['kms/eu/prod/db', 'kms/eu/prod/db2', false],
    ['kms/eu/*/db', 'kms/eu/prod/db', true],
    ['kms/eu/*', 'kms/eu/prod/db', false],
    ['kms/eu/**', 'kms/eu/prod/db', true],
    ['kms/**/db', 'kms/eu/prod/db', true],
    ['kms/**/db', 'kms/db', false],
    ['ssm//app/*', 'ssm//app/x', true],
    ['**', '', true],
    ['*', 'team-a', true],
    ['team-*', 'team-', true],
    ['', 'a', false],
    ['local/*', 'local/.hidden', true],
    ['secretsmanager/arn:aws:*:secret:db-*', 'secretsmanager/arn:aws:x:1:secret:db-AbC', true],
  ])('%j against %j: %s', (glob, name, expected) => {
    expect(compileNameGlob(glob)(name)).toBe(expected);
  });

  test.each(['{a,b}', '[ab]', 'a?', '!a', '+(a)', '\\a', '^a$', '.'])(
    '%j matches itself only',
    (glob) => {
      expect(compileNameGlob(glob)(glob)).toBe(true);
      expect(['a', 'b', 'ab', 'aa'].filter(compileNameGlob(glob))).toEqual([]);
    },
  );

  test('matches what its definition matches', () => {
    const glob = fc.array(fc.oneof(letters, fc.constantFrom('*', '**')), { maxLength: 7 });
    fc.assert(
      fc.property(glob, fc.array(letters, { maxLength: 10 }), (parts, name) => {
        // Adjacent wildcards are one run of stars, which means the wider one.
        expect(compileNameGlob(parts.join(''))(name.join(''))).toBe(
          matchesByDefinition(parts.join(''), name.join('')),
        );
      }),
      { numRuns: 3_000 },
    );
  });

  test('matches long names without backtracking', () => {
    const usageBefore = process.cpuUsage();
    expect(compileNameGlob('*a'.repeat(50))(`${'a'.repeat(4_000)}b`)).toBe(false);
    expect(compileNameGlob('**a'.repeat(50))(`${'a/'.repeat(2_000)}b`)).toBe(false);
    // CPU time, in microseconds. A backtracking matcher would not end at all.
    expect(process.cpuUsage(usageBefore).user).toBeLessThan(2_000_000);
  });
});
