import { describe, expect, test } from '@jest/globals';
import { readYamlDocument, readYamlDocuments } from './yaml.ts';

describe('a syntax error is explained where its cause is', () => {
  test.each([
    ['a:\n\tb: 1', '2:1 a tab indents a line; indent with spaces, not with tabs'],
    ['-\ta: 1\n\tb: 2', '1:2 a tab indents a line; indent with spaces, not with tabs'],
    [
      'x: y\na: [1, 2\nb: 3',
      '2:4 [ is not closed; write ] at the end, and indent all lines before it',
    ],
    [
      'a: {b: [1, {}], c: 1\nd: 2',
      '1:4 { is not closed; write } at the end, and indent all lines before it',
    ],
    ['a: "x\nb: 1\n', '1:4 a text begins with " and does not end; write " at its end'],
    ["x: 'y'\na: 'x\nb: 1\n", "2:4 a text begins with ' and does not end; write ' at its end"],
    [
      'a: b: c',
      '1:4 a second key begins inside a value; put a value that has ": " in quotes, or check the indentation',
    ],
    ['a: 1\nfoo\nb: 2', '2:1 a line has no ": " after its key; write key: value'],
    [
      'a:\n    b: 1\n  c: 2',
      '3:1 the indentation differs from that of the lines before; begin items of one list, and keys of one map, in the same column',
    ],
    [
      '- a: 1\n b: 2',
      '2:1 the indentation differs from that of the lines before; begin items of one list, and keys of one map, in the same column',
    ],
    ['- {a: 1\n  b: 2}', '1:7 a comma between brackets is missing; separate the entries with ", "'],
    [
      'a: @x',
      '1:4 a value begins with a character that YAML reserves, such as @, % or `; put the value in quotes',
    ],
    [
      'a: "\\q"',
      '1:5 a backslash in double quotes begins nothing that YAML knows; use single quotes, or write \\\\',
    ],
    ['- {a: 1 b: 2}', '1:7 a comma between brackets is missing; separate the entries with ", "'],
    ['a: ]', '1:4 a text does not belong here; check indentation, brackets and quotes'],
  ])('%j', (text, explanation) => {
    const { root, problems } = readYamlDocument(text);
    expect(root).toBeUndefined();
    expect(
      problems.map(({ at, kind, message, hint = '' }) => [
        kind,
        `${at.line}:${at.column} ${message}; ${hint}`,
      ]),
    ).toEqual([['syntax', explanation]]);
  });
});

test('a key that occurs twice is reported with both lines, and the document is read', () => {
  const [document] = readYamlDocuments('a: 1\nb: 2\na: 3');
  expect(document?.problems).toMatchObject([
    { at: { line: 3, column: 1 }, firstLine: 1, message: 'the key a occurs twice' },
  ]);
  expect(document?.root?.kind).toBe('map');
});
