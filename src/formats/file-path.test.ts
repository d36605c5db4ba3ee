import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { checkFilePath, findPathClash } from './file-path.ts';

/** CPU time, which does not depend on the load of the machine. */
function cpuMs(call: () => unknown): number {
  const before = process.cpuUsage();
  call();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

describe('checkFilePath', () => {
  test.each([
    'login.json',
    'eu/prod/db',
    '.env',
    'a..b',
    'a/..b',
    '键/päss',
    ' spaced ',
    'a\\b',
    `'"hyphenated-alias"'`,
    '...'.slice(0, 1) + 'a',
    'x'.repeat(255),
    `${'x'.repeat(255)}/`.repeat(15) + 'y'.repeat(255),
  ])('accepts %j', (path) => expect(checkFilePath(path)).toBeUndefined());

  test.each([
    ['', 'empty'],
    ['/etc/passwd', 'absolute'],
    ['../up', '".." element'],
    ['a/../b', '".." element'],
    ['a/..', '".." element'],
    ['..', '".." element'],
    ['..data', 'begins with ".."'],
    ['..data/x', 'begins with ".."'],
    ['./a', 'not clean'],
    ['a/.', 'not clean'],
    ['a//b', 'not clean'],
    ['a/', 'not clean'],
    ['.', 'not clean'],
    ['a\0b', 'control character'],
    ['a\nb', 'control character'],
    ['a\u007f', 'control character'],
    ['\ud800', 'Unicode'],
    ['x'.repeat(256), '255 bytes'],
    ['键'.repeat(86), '255 bytes'],
    [`${'x'.repeat(255)}/`.repeat(16) + 'y', '4096 bytes'],
  ])('rejects %j', (path, reason) => expect(checkFilePath(path)).toContain(reason));
});

describe('findPathClash', () => {
  test.each([
    [[]],
    [['a', 'b']],
    [['a/b', 'a/c', 'ab', 'a.b', 'a-b/c', 'a b']],
    [['a/b/c', 'a/bc']],
  ])('finds no clash in %j', (paths) => expect(findPathClash(paths)).toBeUndefined());

  test.each([
    [
      ['a', 'b', 'a'],
      ['a', 'a'],
    ],
    [
      ['a/b', 'x', 'a'],
      ['a', 'a/b'],
    ],
    [
      ['a', 'a-b', 'a/b/c', 'a.b'],
      ['a', 'a/b/c'],
    ],
    [
      ['a/b/c', 'a/b'],
      ['a/b', 'a/b/c'],
    ],
  ])('finds the clash in %j', (paths, clash) => expect(findPathClash(paths)).toEqual(clash));

  test('agrees with a comparison of all pairs', () => {
    const path = fc
      .array(fc.constantFrom('a', 'b', 'a-', 'a.', ' '), { minLength: 1, maxLength: 3 })
      .map((parts) => parts.join('/'));
    fc.assert(
      fc.property(fc.array(path, { maxLength: 8 }), (paths) => {
        const clashes = paths.some((one, i) =>
          paths.some((other, j) => i !== j && (one === other || other.startsWith(`${one}/`))),
        );
        expect(findPathClash(paths) !== undefined).toBe(clashes);
      }),
    );
  });

  test('takes as long for 500 deep paths as sorting them a few times', () => {
    const deep = Array.from({ length: 500 }, (_, index) => `${'a/'.repeat(2_000)}${index}`);
    const sortMs = cpuMs(() => deep.map((path) => path.replaceAll('/', '\0')).sort());
    expect(cpuMs(() => expect(findPathClash(deep)).toBeUndefined())).toBeLessThan(5 * sortMs);
  });
});
