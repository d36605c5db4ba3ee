import jmespath from 'jmespath';
import { sanitizeUserText } from '../core/safe-text.ts';
import { nearestName } from './suggest.ts';

const maxExpressionBytes = 1_024;
const maxNesting = 32;

/** The result of the library's `compile`, which its type declarations do not have. */
type Node = {
  readonly type: string;
  readonly name?: string;
  readonly value?: unknown;
  /** Of a slice: its start, stop and step, each a number or null. Of all others: nodes. */
  readonly children?: readonly Node[];
};
const { compile } = jmespath as unknown as { compile(expression: string): Node };

/**
 * Checks a JMESPath expression. Limits: 1 KiB, and brackets nested 32 deep.
 * @returns the problem, as words that follow the expression, with the remedy if there is an obvious
 * one; `undefined` for a valid expression
 */
export function checkExpression(expression: string): string | undefined {
  if (Buffer.byteLength(expression) > maxExpressionBytes)
    return `is longer than ${maxExpressionBytes} bytes`;
  const brackets = checkBrackets(expression);
  if (brackets !== undefined) return brackets;
  try {
    return checkNode(compile(expression), false);
  } catch (error) {
    // `$.a` has its own remedy: rootHint.
    const quoted = expression.startsWith('$') ? undefined : quotedForm(expression);
    if (quoted === undefined) return `is not JMESPath${reason(error)}`;
    return `is not JMESPath; a key with other characters than letters, digits and _ needs quotes: ${quoted}`;
  }
}

/**
 * Checks that the result of a valid expression depends on the document, which that of `'user'` or
 * `[\`1\`, \`2\`]` does not.
 * @returns undefined if it does, or if the expression is not valid; else what the author probably
 * means, if that is obvious: a key, as an expression
 */
export function checkReadsDocument(
  expression: string,
): { readonly suggestion: string | undefined } | undefined {
  if (checkExpression(expression) !== undefined) return undefined;
  const node = compile(expression);
  if (readsDocument(node)) return undefined;
  const { type, value } = node;
  const isKey = type === 'Literal' && typeof value === 'string' && value !== '';
  return { suggestion: isKey ? keyExpression(value) : undefined };
}

/**
 * The keys of an expression that consists only of keys and dots (`user`, `db."pass-word"`);
 * `undefined` for all others.
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

/**
 * The corrected form (`"a-b".c`) of an expression that looks like keys with missing quotes
 * (`a-b.c`); `undefined` for all others.
 */
export function quotedForm(expression: string): string | undefined {
  if (!/^[^"'`[\](){}|&*@,:<>=!?\\]+$/.test(expression)) return undefined;
  const keys = expression.split('.');
  if (keys.includes('') || keys.every(isIdentifier)) return undefined;
  return keys.map(keyExpression).join('.');
}

function keyExpression(key: string): string {
  return isIdentifier(key) ? key : JSON.stringify(key);
}

function isIdentifier(key: string): boolean {
  return /^[A-Za-z_]\w*$/.test(key);
}

/** The library recurses, and accepts a quote that is not closed. */
function checkBrackets(expression: string): string | undefined {
  const brackets: string[] = [];
  let open: string | undefined;
  for (let index = 0; index < expression.length; index += 1) {
    const character = expression[index] ?? '';
    if (open !== undefined) {
      if (character === '\\') index += 1;
      else if (character === open) open = undefined;
    } else if ('"\'`'.includes(character)) open = character;
    else if ('([{'.includes(character)) brackets.push(character);
    else if (')]}'.includes(character)) brackets.pop();
    if (brackets.length > maxNesting) return `is nested more than ${maxNesting} deep`;
  }
  const unclosed = open ?? brackets.at(-1);
  return unclosed === undefined ? undefined : `is not JMESPath: a ${unclosed} is not closed`;
}

function checkNode(node: Node, isArgument: boolean): string | undefined {
  const { type, name = '', children = [] } = node;
  if (type === 'Slice') {
    const step: unknown = children[2];
    return step === 0 ? 'has a slice with the step 0' : undefined;
  }
  if (type === 'Function' && !functions.includes(name)) {
    const nearest = nearestName(name, functions);
    const advice = nearest === undefined ? '' : `; did you mean ${nearest}()?`;
    return `calls ${sanitizeUserText(name)}(), which JMESPath does not have${advice}`;
  }
  if (type === 'ExpressionReference' && !isArgument)
    return 'has a "&" that is not an argument of a function';
  // The library would set the result's prototype.
  if (type === 'KeyValuePair' && name === '__proto__') return 'makes a key called __proto__';
  for (const part of partsOf(node)) {
    const problem = checkNode(part, type === 'Function');
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** The expressions that an expression consists of. */
function partsOf({ type, value, children = [] }: Node): readonly Node[] {
  if (type === 'Slice') return [];
  return type === 'KeyValuePair' ? [value as Node] : children;
}

/** Whether the result depends on the document to which the expression is applied. */
function readsDocument(node: Node): boolean {
  const { type } = node;
  if (type === 'Literal') return false;
  // It is applied to what the other arguments give.
  if (type === 'ExpressionReference') return false;
  const parts = partsOf(node);
  if (type === 'Pipe') return parts.every(readsDocument);
  const [first] = parts;
  // The other parts are applied to what the first one gives.
  if (first !== undefined && chains.includes(type)) return readsDocument(first);
  return readers.includes(type) || parts.some(readsDocument);
}

/** Expressions whose first part gives what the others are applied to. */
const chains: readonly string[] = [
  'Subexpression',
  'IndexExpression',
  'Projection',
  'ValueProjection',
  'FilterProjection',
];

/** Expressions without parts that read what they are applied to. */
const readers: readonly string[] = ['Field', 'Current', 'Identity', 'Index', 'Slice'];

/** Only the library's own errors help a user; those of the JavaScript engine do not. */
function reason(error: unknown): string {
  const { name, message } = error as Error;
  const isLibraryError =
    (name === 'ParserError' || name === 'LexerError') && !message.includes('NaN');
  return isLibraryError ? `: ${sanitizeUserText(message)}` : '';
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

/**
 * The remedy for a path as jq or JSONPath writes it (`.password`, `$.db.password`); `undefined` for
 * all others.
 */
export function rootHint(path: string): string | undefined {
  const [, rest = ''] = /^\$?\.(?=[A-Za-z_"])(.*)$/s.exec(path) ?? [];
  if (rest === '' || checkExpression(rest) !== undefined) return undefined;
  return `write it without the dot at the beginning: ${sanitizeUserText(rest)}`;
}
