import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  checkExpression,
  checkReadsDocument,
  plainKeys,
  quotedForm,
  rootHint,
} from './jmespath.ts';

describe('checkExpression', () => {
  test.each([
    'user',
    'db.user',
    '"pass-word"',
    '@',
    'a[0].b[*].c',
    'hosts[?port == `443`].name | [0]',
    "join(',', hosts[*].name)",
    'sort_by(list, &age)[-1]',
    'hosts[0:2]',
    '[1:]',
    '[::-1]',
    'a[:2].b[]',
    '{user: a, "pass-word": b}',
    'a || b && !c',
    '`{"x": "["}`',
    "'it\\'s'",
    `${'('.repeat(32)}a${')'.repeat(32)}`,
    'a'.repeat(1_024),
  ])('accepts %s', (expression) => expect(checkExpression(expression)).toBeUndefined());

  test.each([
    [
      'a-b',
      'is not JMESPath; a key with other characters than letters, digits and _ needs quotes: "a-b"',
    ],
    [
      'db.pass-word',
      'is not JMESPath; a key with other characters than letters, digits and _ needs quotes: db."pass-word"',
    ],
    [
      'k/1',
      'is not JMESPath; a key with other characters than letters, digits and _ needs quotes: "k/1"',
    ],
    [
      '键',
      'is not JMESPath; a key with other characters than letters, digits and _ needs quotes: "键"',
    ],
    [
      'a b',
      'is not JMESPath; a key with other characters than letters, digits and _ needs quotes: "a b"',
    ],
    ['', 'is not JMESPath: Invalid token (EOF): ""'],
    ['a..b', 'is not JMESPath'],
    ['=', 'is not JMESPath'],
    ['"a', 'is not JMESPath: a " is not closed'],
    ["'abc", "is not JMESPath: a ' is not closed"],
    ['db[0', 'is not JMESPath: a [ is not closed'],
    ['length(a', 'is not JMESPath: a ( is not closed'],
    ['$.db.password', 'is not JMESPath: Unknown character:$'],
    ['`1', 'is not JMESPath: a ` is not closed'],
    ['lenght(a)', 'calls lenght(), which JMESPath does not have; did you mean length()?'],
    ['[a, {b: frobnicate(a)}]', 'calls frobnicate(), which JMESPath does not have'],
    ['&a', 'has a "&" that is not an argument of a function'],
    ['a[::0]', 'has a slice with the step 0'],
    ['a.', 'is not JMESPath'],
    ['{__proto__: a}', 'makes a key called __proto__'],
    [`${'('.repeat(33)}a${')'.repeat(33)}`, 'is nested more than 32 deep'],
    ['é'.repeat(513), 'is longer than 1024 bytes'],
  ])('reports the problem of %s', (expression, problem) =>
    expect(checkExpression(expression)).toBe(problem),
  );

  test('never throws', () => {
    const pieces = fc.constantFrom(
      ...'abc.[]{}()*@&|!<>=?:,"\'`\\-01 '.split(''),
      '__proto__',
      'sort_by',
      '[?',
      '&&',
      '||',
      'é',
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
        checkExpression(parts.join(''));
        checkReadsDocument(parts.join(''));
      }),
      { numRuns: 2_000 },
    );
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void checkExpression(text)));
  });
});

describe('checkReadsDocument', () => {
  test.each(['a', '@', '*', '[*]', '[]', '[0]', '[1:]', '[?a]', '{x: a}', "[a, 'x']", "a || 'x'"])(
    'accepts %s',
    (expression) => expect(checkReadsDocument(expression)).toBeUndefined(),
  );
  test.each([
    ["'user'", 'user'],
    ["'pass-word'", '"pass-word"'],
    ['`user`', 'user'],
    ["''", undefined],
    ['`{"a": 1}`.a', undefined],
    ["a | 'x'", undefined],
    ["{x: 'y'}", undefined],
    ['join(\',\', `["a"]`)', undefined],
    ['map(&a, `[{"a": 1}]`)', undefined],
  ])('does not accept %s', (expression, suggestion) =>
    expect(checkReadsDocument(expression)).toEqual({ suggestion }),
  );
  test('leaves expressions that are not valid to checkExpression', () =>
    expect(checkReadsDocument("'a")).toBeUndefined());
});

describe('plainKeys', () => {
  test.each([
    ['user', ['user']],
    ['db.user', ['db', 'user']],
    ['db."pass-word"."a.b"', ['db', 'pass-word', 'a.b']],
    ['"\\u00e9\\""', ['é"']],
    ['constructor.__proto__', ['constructor', '__proto__']],
  ])('%s', (expression, keys) => expect(plainKeys(expression)).toEqual(keys));
  test.each(['', 'a.', '.a', 'a..b', 'a[0]', 'a-b', '@', '"\\x"', 'a b', ' a', 'a\n', 'é', '1a'])(
    'returns undefined for %j',
    (expression) => expect(plainKeys(expression)).toBeUndefined(),
  );
});

test('quotedForm returns undefined for valid keys and for other expressions', () => {
  expect(['a', 'a.b', '"a-b"', 'a[0]', 'f(a-b)', 'a..b-c', ''].map(quotedForm)).toEqual(
    Array(7).fill(undefined),
  );
  expect(quotedForm('a.b-c.1')).toBe('a."b-c"."1"');
});

test.each([
  ['.password', 'password'],
  ['$.db.password', 'db.password'],
  ['."a-b"', '"a-b"'],
])('the remedy for %s is %s', (path, expression) => {
  expect(rootHint(path)).toBe(`write it without the dot at the beginning: ${expression}`);
});

test.each(['password', '', '.', '..a', '.[0]', '$', '.a['])('%j has no such remedy', (path) => {
  expect(rootHint(path)).toBeUndefined();
});
