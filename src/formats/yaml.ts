import { type CST, Composer, Lexer, LineCounter, Parser } from 'yaml';
import { type Steps, runSteps } from '../core/steps.ts';
import {
  type ConvertOptions,
  type Position,
  YamlConverter,
  type YamlDocument,
  limitProblem,
  splitHint,
} from './yaml-tree.ts';
import { isYamlNull } from './yaml-values.ts';

/** Limits of a text that tenants write. */
const tenantLimits = {
  /** How deep collections may nest. */
  maxDepth: 16,
  /**
   * Pieces of YAML text. 500 objects of ten fields need about 30,000. The library takes a few
   * tenths of a second for 100,000.
   */
  maxTokens: 100_000,
};
/** Limits of manifests that users read from their own files. Large CRDs nest about 60 deep. */
const manifestLimits = { maxDepth: 200, maxTokens: Infinity };

/** So many pieces of YAML text take about half a millisecond to parse. */
const stepTokens = 128;
/** About so many characters of a list are composed in one step, which takes a millisecond. */
const pieceLength = 4_096;
/** Composing a longer piece takes more than 20 ms. */
const largePieceLength = 32_768;

/**
 * Reads a text of one YAML document. Never throws. Stops at the first syntax error.
 * @param options.mergeKeys whether merge keys (`<<`, YAML 1.1) are resolved; default true. The
 * map's own keys win, then the earlier of the merged maps.
 */
export function readYamlDocument(text: string, options?: DocumentOptions): YamlDocument {
  return runSteps(readYamlInSteps(text, options));
}

/** Options of {@link readYamlDocument}. */
type DocumentOptions = { readonly mergeKeys?: boolean };

/** The same as {@link readYamlDocument}, in steps. */
export function* readYamlInSteps(
  text: string,
  { mergeKeys = true }: DocumentOptions = {},
): Steps<YamlDocument> {
  const options = { ...tenantLimits, mergeKeys, isSingle: true };
  const documents = yield* readDocuments(text, options);
  const [document = { at: { line: 1, column: 1 }, problems: [] }, ...others] = documents;
  if (others.every(isEmptyDocument) || document.problems[0]?.kind === 'syntax') return document;
  const message = 'a second YAML document begins';
  const hint = 'write one list, without ---';
  return { at: document.at, problems: [limitProblem(others[0]?.at ?? document.at, message, hint)] };
}

/** Such as after a `---` at the end. */
function isEmptyDocument({ root, problems }: YamlDocument): boolean {
  const hasContent = root !== undefined && !(root.kind === 'scalar' && isYamlNull(root));
  return !hasContent && problems.length === 0;
}

/**
 * Reads a text of any number of YAML documents, such as a file of manifests. Never throws. The
 * other documents are still read after a malformed one.
 * @param firstLine the line of the text's beginning in positions
 */
export function readYamlDocuments(text: string, firstLine = 1): readonly YamlDocument[] {
  return runSteps(
    readDocuments(text, { ...manifestLimits, mergeKeys: true, isSingle: false, firstLine }),
  );
}

type ReadOptions = ConvertOptions & { readonly maxTokens: number; readonly firstLine?: number };

function* readDocuments(text: string, options: ReadOptions): Steps<readonly YamlDocument[]> {
  const lines = new LineCounter();
  lines.addNewLine(0);
  const positionOf = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: line + (options.firstLine ?? 1) - 1, column: col };
  };
  const source = text.replace(/^\ufeff/, '');
  const parser = new Parser(lines.addNewLine);
  const tokens: CST.Token[] = [];
  const isBroken = (): boolean => options.isSingle && tokens.at(-1)?.type === 'error';
  let count = 0;
  // The limits are checked here: the library composes recursively, and a stack that is exhausted
  // inside V8's regular expression compiler ends the process instead of throwing.
  for (const lexeme of new Lexer().lex(source)) {
    for (const token of parser.next(lexeme)) tokens.push(token);
    if (isBroken()) break;
    count += 1;
    const problem = exceededLimit(parser, count, options);
    if (problem !== undefined) {
      const at = positionOf(parser.offset);
      return [{ at, problems: [limitProblem(at, ...problem)] }];
    }
    if (count % stepTokens === 0) yield 'held';
  }
  if (!isBroken()) tokens.push(...parser.end());
  const composer = new Composer({
    schema: 'failsafe',
    resolveKnownTags: false,
    uniqueKeys: false,
  });
  const pieces = tokens.map((token) => (token.type === 'document' ? divide(token) : [token]));
  const flat = pieces.flat();
  const step = longestPiece(flat, source.length) > largePieceLength ? 'held-large' : 'held';
  // The composer makes one document of each piece.
  const beginsDocument = pieces.flatMap((ofToken) =>
    ofToken.flatMap(({ type }, index) => (type === 'document' ? [index === 0] : [])),
  );
  const converters: YamlConverter[] = [];
  yield step;
  for (const piece of composer.compose(flat, true, source.length)) {
    if (beginsDocument.shift() !== false)
      converters.push(new YamlConverter(positionOf, options, source));
    converters.at(-1)?.add(piece);
    yield step;
  }
  return converters.map((converter) => converter.end());
}

/** Divides a document that is a long list into documents of some items each. */
function divide(document: CST.Document): readonly CST.Document[] {
  const { value } = document;
  if (value?.type !== 'block-seq') return [document];
  const parts: { readonly offset: number; readonly items: CST.BlockSequence['items'] }[] = [];
  for (const item of value.items) {
    const offset = item.start[0]?.offset ?? value.offset;
    const part = parts.at(-1);
    if (part !== undefined && offset - part.offset < pieceLength) part.items.push(item);
    else parts.push({ offset, items: [item] });
  }
  return parts.map(({ offset, items }, index) => ({
    ...{ type: 'document', offset, start: [], value: { ...value, offset, items } },
    ...(index === 0 && { offset: document.offset, start: document.start }),
    ...(index === parts.length - 1 && document.end && { end: document.end }),
  }));
}

/** In characters. */
function longestPiece(tokens: readonly CST.Token[], end: number): number {
  const documents = tokens.filter(({ type }) => type === 'document');
  const offsets = [...documents.map(({ offset }) => offset), end];
  return Math.max(...offsets.map((offset, index) => (offsets[index + 1] ?? offset) - offset));
}

function exceededLimit(
  { stack }: Parser,
  count: number,
  { maxDepth, maxTokens }: ReadOptions,
): readonly [message: string, hint?: string] | undefined {
  if (stack.length > maxDepth && stack.filter(isCollection).length > maxDepth)
    return [`nested more than ${maxDepth} deep`];
  return count > maxTokens ? [`more than ${maxTokens} pieces of YAML`, splitHint] : undefined;
}

function isCollection({ type }: CST.Token): boolean {
  return type === 'block-map' || type === 'block-seq' || type === 'flow-collection';
}
