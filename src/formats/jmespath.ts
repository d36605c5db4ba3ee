import jmespath from 'jmespath';
import { sanitizeExternalText } from '../core/safe-text.ts';
import { nearestName } from './suggest.ts';

const longestExpression = 1_024;
const maxNesting = 32;

/** What the library's `compile` makes; its type declarations know `search` alone. */
type Node = {
  readonly type: string;
  readonly name?: string;
  readonly value?: unknown;
  readonly children?: readonly Node[];
};
const { compile } = jmespath as unknown as { compile(expression: string): Node };

/**
 * What is wrong with a JMESPath expression, as words that follow it, with the remedy where it is plain; `undefined` where nothing is.
 * Limits: 1 KiB, brackets nested 32 deep.
 */
export function checkExpression(expression: string): string | undefined {
  if (Buffer.byteLength(expression) > longestExpression)
    return `is longer than ${longestExpression} bytes`;
  const brackets = checkBrackets(expression);
  if (brackets !== undefined) return brackets;
  try {
    return checkNode(compile(expression), false);
  } catch (error) {
    const quoted = quotedForm(expression);
    if (quoted === undefined) return `is not JMESPath${reason(error)}`;
    return `is not JMESPath; a key with other characters than letters, digits and _ needs quotes: ${quoted}`;
  }
}

/**
 * The keys of an expression that is nothing but keys with dots between them (`user`, `db."pass-word"`); `undefined` for every other one.
 */
export function plainKeys(expression: string): readonly string[] | undefined {
  const part = /([A-Za-z_]\w*|"(?:[^"\\]|\\.)*")(\.|$)/y;
  const keys: string[] = [];
  for (let more = true; more;) {
    const [, key, end] = part.exec(expression) ?? [];
    if (key === undefined) return undefined;
    try {
      keys.push(key.startsWith('"') ? (JSON.parse(key) as string) : key);
    } catch {
      return undefined;
    }
    more = end === '.';
  }
  return keys;
}

/** `a-b.c` as it was meant, `"a-b".c`, where an expression looks like bare keys that want quotes. */
export function quotedForm(expression: string): string | undefined {
  if (!/^[^"'`[\](){}|&*@,:<>=!?\\]+$/.test(expression)) return undefined;
  const keys = expression.split('.');
  if (keys.includes('') || keys.every(isIdentifier)) return undefined;
  return keys.map((key) => (isIdentifier(key) ? key : JSON.stringify(key))).join('.');
}

function isIdentifier(key: string): boolean {
  return /^[A-Za-z_]\w*$/.test(key);
}

/** The library recurses, and takes a quote that is never closed for closed. */
function checkBrackets(expression: string): string | undefined {
  let depth = 0;
  let open: string | undefined;
  for (let index = 0; index < expression.length; index += 1) {
    const character = expression[index] ?? '';
    if (open !== undefined) {
      if (character === '\\') index += 1;
      else if (character === open) open = undefined;
    } else if ('"\'`'.includes(character)) open = character;
    else if ('([{'.includes(character)) depth += 1;
    else if (')]}'.includes(character)) depth -= 1;
    if (depth > maxNesting) return `is nested more than ${maxNesting} deep`;
  }
  return open === undefined ? undefined : `is not JMESPath: a ${open} is not closed`;
}

function checkNode(node: Node, isArgument: boolean): string | undefined {
  const { type, name = '', value, children = [] } = node;
  if (type === 'Function' && !functions.includes(name)) {
    const nearest = nearestName(name, functions);
    return `calls ${sanitizeExternalText(name)}(), which JMESPath has not${nearest === undefined ? '' : `; did you mean ${nearest}()?`}`;
  }
  if (type === 'ExpressionReference' && !isArgument)
    return 'has a "&" that is no argument of a function';
  // The library would make it the result's prototype.
  if (type === 'KeyValuePair' && name === '__proto__') return 'makes a key called __proto__';
  const inner = type === 'KeyValuePair' ? [value as Node] : children;
  for (const child of inner) {
    const problem = checkNode(child, type === 'Function');
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** The library's own errors say what they met; the engine's say nothing a user could use. */
function reason(error: unknown): string {
  const { name, message } = error as Error;
  const said = (name === 'ParserError' || name === 'LexerError') && !message.includes('NaN');
  return said ? `: ${sanitizeExternalText(message)}` : '';
}

const functions: readonly string[] = [
  'abs',
  'avg',
  'ceil',
  'contains',
  'ends_with',
  'floor',
  'join',
  'keys',
  'length',
  'map',
  'max',
  'max_by',
  'merge',
  'min',
  'min_by',
  'not_null',
  'reverse',
  'sort',
  'sort_by',
  'starts_with',
  'sum',
  'to_array',
  'to_number',
  'to_string',
  'type',
  'values',
];
