import type { YAMLError } from 'yaml';

/** A syntax error in plain words. */
export type YamlExplanation = {
  /** Where the cause is: for an unclosed bracket, the bracket. */
  readonly offset: number;
  /** Never quotes the text, because it may hold a secret. */
  readonly message: string;
  readonly hint: string;
};

/** A file can have many errors. So the search for the cause of each is short. */
const maxSearch = 100_000;

type Explanation = readonly [message: string, hint: string];

const badIndentation: Explanation = [
  'the indentation differs from that of the lines before',
  'begin items of one list, and keys of one map, in the same column',
];
const missingComma: Explanation = [
  'a comma between brackets is missing',
  'separate the entries with ", "',
];

/** Explanations by the library's codes. */
const explanations: Readonly<Partial<Record<string, Explanation>>> = {
  BAD_ALIAS: ['an anchor or alias has no name', 'put a value that begins with & or * in quotes'],
  BAD_DQ_ESCAPE: [
    'a backslash in double quotes begins nothing that YAML knows',
    'use single quotes, or write \\\\',
  ],
  BAD_INDENT: badIndentation,
  BAD_SCALAR_START: [
    'a value begins with a character that YAML reserves, such as @, % or `',
    'put the value in quotes',
  ],
  BLOCK_AS_IMPLICIT_KEY: [
    'a second key begins inside a value',
    'put a value that has ": " in quotes, or check the indentation',
  ],
  BLOCK_IN_FLOW: missingComma,
  MISSING_CHAR: missingComma,
  MULTILINE_IMPLICIT_KEY: ['a line has no ": " after its key', 'write key: value'],
  UNEXPECTED_TOKEN: ['a text does not belong here', 'check indentation, brackets and quotes'],
};

/**
 * Explains the error of the library. The library's message names its own parts, and its position is
 * where it noticed the error, which can be far behind the cause.
 */
export function explainYamlError(
  { code, message, pos }: Pick<YAMLError, 'code' | 'message' | 'pos'>,
  source: string,
): YamlExplanation {
  const [offset] = pos;
  if (isIndentedByTab(source, offset))
    return { offset, message: 'a tab indents a line', hint: 'indent with spaces, not with tabs' };
  const quote = /^Missing closing (["'])quote/.exec(message)?.[1];
  if (quote !== undefined)
    return {
      offset: lastUnescaped(quote, source, offset),
      message: `a text begins with ${quote} and does not end`,
      hint: `write ${quote} at its end`,
    };
  const opening = /^Flow (map|sequence) in block collection must/.test(message)
    ? unclosedBracket(source, offset)
    : undefined;
  if (opening !== undefined) {
    const bracket = source.charAt(opening);
    const hint = `write ${bracket === '[' ? ']' : '}'} at the end, and indent all lines before it`;
    return { offset: opening, message: `${bracket} is not closed`, hint };
  }
  const [explanation, hint] = explanationOf(code, message, source, offset);
  return { offset, message: explanation, hint };
}

function explanationOf(code: string, message: string, source: string, offset: number): Explanation {
  if (message.startsWith('Sequence item without - indicator')) return badIndentation;
  // A line break between two entries takes the first for a key.
  const isKey = code === 'MULTILINE_IMPLICIT_KEY';
  if (isKey && unclosedBracket(source, offset) !== undefined) return missingComma;
  return (
    explanations[code] ?? [
      'the text breaks a rule of YAML',
      'check indentation, brackets and quotes',
    ]
  );
}

function isIndentedByTab(source: string, offset: number): boolean {
  const lineStart = source.lastIndexOf('\n', offset - 1) + 1;
  return /^[ -]*\t/.test(source.slice(lineStart, lineStart + 1_000));
}

function lastUnescaped(quote: string, source: string, end: number): number {
  let at = source.lastIndexOf(quote, end - 1);
  while (quote === '"' && at > 0 && source.charAt(at - 1) === '\\')
    at = source.lastIndexOf(quote, at - 1);
  return Math.max(at, 0);
}

/** The bracket before `end` that is open there. Brackets in quotes may mislead it. */
function unclosedBracket(source: string, end: number): number | undefined {
  let closed = 0;
  for (let at = end - 1; at >= Math.max(0, end - maxSearch); at -= 1) {
    const character = source.charAt(at);
    if (character === ']' || character === '}') closed += 1;
    if (character !== '[' && character !== '{') continue;
    if (closed === 0) return at;
    closed -= 1;
  }
  return undefined;
}
