import {
  type CST,
  Composer,
  Lexer,
  LineCounter,
  type Pair,
  type ParsedNode,
  Parser,
  isAlias,
  isMap,
  isScalar,
  isSeq,
} from 'yaml';
import { sanitizeExternalText } from '../core/safe-text.ts';

/** Both counted from 1; columns in UTF-16 code units. */
export type Position = { readonly line: number; readonly column: number };

/** Says what is wrong, where, and what to do about it. */
export type YamlReport = (at: Position, message: string, hint?: string) => void;

/** How deep collections may nest. */
export const maxDepth = 16;
/** Pieces of YAML text. 500 objects of ten fields need some 30,000; the library takes some tenths of a second for 100,000. */
const maxTokens = 100_000;

/** A document as the library has it: every scalar is text, aliases are not followed, keys may stand twice. */
export type YamlDocument = {
  readonly contents: ParsedNode;
  readonly at: (offset: number) => Position;
};

/** Reads one YAML document; `undefined` for an empty one, and after an error, which is reported. Never throws. */
export function readYamlDocument(text: string, report: YamlReport): YamlDocument | undefined {
  const lines = new LineCounter();
  lines.addNewLine(0);
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const source = text.replace(/^\ufeff/, '');
  const tokens = tokenize(source, lines, (offset, message, hint) =>
    report(at(offset), message, hint),
  );
  if (tokens === undefined) return undefined;
  const composer = new Composer({ schema: 'failsafe', resolveKnownTags: false, uniqueKeys: false });
  const [document, second] = [...composer.compose(tokens, true, source.length)];
  const [error] = document?.errors ?? [];
  if (error !== undefined) {
    const where = at(error.pos[0]);
    const isTabbed = /^ *\t/.test(source.split('\n')[where.line - 1] ?? '');
    const hint = isTabbed ? 'indent with spaces, not with tabs' : 'check indentation and quotes';
    report(where, `not YAML: ${inOwnWords(error.message)}`, hint);
  } else if (second !== undefined) {
    report(at(second.range[0]), 'a second YAML document begins', 'write one list, without ---');
  } else if (document?.contents != null) {
    return { contents: document.contents, at };
  }
  return undefined;
}

/**
 * The parser's tokens, up to the first error. Caps are looked at here: the library composes recursively, and a stack exhausted inside V8's
 * regular expression compiler ends the process instead of throwing.
 */
function tokenize(
  text: string,
  lines: LineCounter,
  report: (offset: number, message: string, hint?: string) => void,
): CST.Token[] | undefined {
  const parser = new Parser(lines.addNewLine);
  const tokens: CST.Token[] = [];
  let count = 0;
  for (const lexeme of new Lexer().lex(text)) {
    tokens.push(...parser.next(lexeme));
    if (tokens.at(-1)?.type === 'error') return tokens;
    if (parser.stack.length > maxDepth && parser.stack.filter(isCollection).length > maxDepth) {
      report(parser.offset, `nested more than ${maxDepth} deep`);
      return undefined;
    }
    count += 1;
    if (count > maxTokens) {
      report(parser.offset, `more than ${maxTokens} pieces of YAML`, 'split the class');
      return undefined;
    }
  }
  return [...tokens, ...parser.end()];
}

function isCollection({ type }: CST.Token): boolean {
  return type === 'block-map' || type === 'block-seq' || type === 'flow-collection';
}

/** The library's message without the user's text, which it appends after a colon. */
function inOwnWords(message: string): string {
  return sanitizeExternalText(message.replace(/(?<=\w): .*$/s, ''));
}

/** A node of a YAML document in which aliases and merge keys are resolved. Aliased nodes are shared, never copied. */
export type YamlNode = YamlText | YamlEntries | YamlItems;

/** A scalar. */
export type YamlText = Measured & {
  readonly kind: 'scalar';
  /** A plain scalar: the characters that stand there. A quoted or block scalar: what they stand for. */
  readonly text: string;
  /** Neither plain nor without a `!!str` tag: it is text, whatever it looks like. */
  readonly quoted: boolean;
};

/** A map, in the order of its text; what a merge key brings comes last. */
export type YamlEntries = Measured & {
  readonly kind: 'map';
  readonly entries: readonly YamlEntry[];
};

/** One key and its value. */
export type YamlEntry = {
  readonly key: string;
  readonly at: Position;
  readonly value: YamlNode;
  /** It came by a merge key, so a key of the map itself hides it. */
  readonly merged: boolean;
};

/** A list. */
export type YamlItems = Measured & { readonly kind: 'list'; readonly items: readonly YamlNode[] };

/** What a node costs when it is expanded. */
type Measured = {
  readonly at: Position;
  /** Collections nested in it, itself included. */
  readonly height: number;
  /** Aliases followed while walking through it. */
  readonly expansions: number;
  /** Characters and nodes. */
  readonly size: number;
};

const maxExpansions = 100;
/** Characters and nodes that aliases may stand for together. */
const maxExpandedSize = 1_048_576;

/**
 * Reads one YAML document; `undefined` for an empty one, and after an error that leaves nothing to go on with. Never throws.
 *
 * Merge keys (`<<`, YAML 1.1) are honoured: the map's own keys win, then the earlier of the merged maps.
 */
export function readYamlTree(text: string, report: YamlReport): YamlNode | undefined {
  const document = readYamlDocument(text, report);
  if (document === undefined) return undefined;
  const { contents, at } = document;
  const run = { at, report, anchors: new Map(), expansions: 0, expandedSize: 0, broken: false };
  const tree = convert(contents, 1, run);
  return run.broken ? undefined : tree;
}

type Conversion = {
  readonly at: (offset: number) => Position;
  readonly report: YamlReport;
  /** `undefined`: the anchored node is still being read. */
  readonly anchors: Map<string, YamlNode | undefined>;
  expansions: number;
  expandedSize: number;
  /** An alias cannot be followed, which is reported. */
  broken: boolean;
};

type Foreign = {
  readonly range?: readonly [number, number, number] | null | undefined;
  readonly tag?: string;
  readonly anchor?: string;
};

function convert(node: unknown, depth: number, run: Conversion): YamlNode {
  const { range, tag, anchor } = (node ?? {}) as Foreign;
  const at = run.at(range?.[0] ?? 0);
  if (isAlias(node)) return followAlias(node.source, at, depth, run);
  if (tag !== undefined && !/^(!|tag:yaml\.org,2002:(str|int|float|bool|null|map|seq))$/.test(tag))
    run.report(at, `the tag ${sanitizeExternalText(tag)} is not known here`, 'leave it out');
  if (anchor !== undefined) run.anchors.set(anchor, undefined);
  const converted = isMap(node)
    ? convertMap(node.items, at, depth, run)
    : isSeq(node)
      ? convertList(node.items, at, depth, run)
      : convertScalar(node, at);
  if (anchor !== undefined) run.anchors.set(anchor, converted);
  return converted;
}

function convertScalar(node: unknown, at: Position): YamlText {
  if (!isScalar(node)) return emptyText(at);
  const text = typeof node.value === 'string' ? node.value : '';
  const asText = node.tag === '!' || node.tag === 'tag:yaml.org,2002:str';
  return {
    kind: 'scalar',
    text,
    quoted: node.type !== 'PLAIN' || asText,
    at,
    height: 0,
    expansions: 0,
    size: text.length + 1,
  };
}

function emptyText(at: Position): YamlText {
  return { kind: 'scalar', text: '', quoted: false, at, height: 0, expansions: 0, size: 1 };
}

function convertList(
  items: readonly unknown[],
  at: Position,
  depth: number,
  run: Conversion,
): YamlItems {
  const nodes = items.map((item) => convert(item, depth + 1, run));
  return { kind: 'list', items: nodes, at, ...measure(nodes) };
}

function convertMap(
  pairs: readonly Pair[],
  at: Position,
  depth: number,
  run: Conversion,
): YamlEntries {
  const seen = new Map<string, Position>();
  const own: YamlEntry[] = [];
  const merged: YamlEntry[] = [];
  for (const { key, value } of pairs) {
    const where = run.at((key as Foreign | null)?.range?.[0] ?? 0);
    if (!isScalar(key) || typeof key.value !== 'string') {
      run.report(where, 'a key must be plain text');
      continue;
    }
    const node = value === null ? emptyText(where) : convert(value, depth + 1, run);
    const first = seen.get(key.value);
    if (first !== undefined) run.report(where, duplicate(key.value, first));
    else if (key.value === '<<' && key.type === 'PLAIN') merged.push(...mergedEntries(node, run));
    else own.push({ key: key.value, at: where, value: node, merged: false });
    seen.set(key.value, first ?? where);
  }
  const inherited = new Map<string, YamlEntry>();
  for (const entry of merged)
    if (!seen.has(entry.key) && !inherited.has(entry.key)) inherited.set(entry.key, entry);
  const entries = [...own, ...inherited.values()];
  return {
    kind: 'map',
    entries,
    at,
    ...measure(
      entries.map(({ value }) => value),
      entries,
    ),
  };
}

/** What a report says of a key that stands twice. */
export function duplicate(key: string, first: Position): string {
  return `the key ${sanitizeExternalText(key)} stands twice, first in line ${first.line}`;
}

function mergedEntries(node: YamlNode, run: Conversion): YamlEntry[] {
  const maps = node.kind === 'list' ? node.items : [node];
  return maps.flatMap((map) => {
    if (map.kind === 'map') return map.entries.map((entry) => ({ ...entry, merged: true }));
    run.report(map.at, 'a merge key (<<) takes maps only');
    return [];
  });
}

function measure(
  nodes: readonly YamlNode[],
  entries: readonly YamlEntry[] = [],
): Omit<Measured, 'at'> {
  let [height, expansions, size] = [0, 0, 1];
  for (const node of nodes) {
    height = Math.max(height, node.height);
    expansions += node.expansions;
    size += node.size;
  }
  for (const { key } of entries) size += key.length + 1;
  return { height: height + 1, expansions, size };
}

function followAlias(name: string, at: Position, depth: number, run: Conversion): YamlNode {
  const target = run.anchors.get(name);
  if (target === undefined)
    return breakOff(
      `the alias ${sanitizeExternalText(name)} ${run.anchors.has(name) ? 'refers to itself' : 'has no anchor before it'}`,
      at,
      run,
    );
  run.expansions += 1 + target.expansions;
  run.expandedSize += target.size;
  if (run.expansions > maxExpansions)
    return breakOff(`more than ${maxExpansions} aliases to follow`, at, run);
  if (run.expandedSize > maxExpandedSize)
    return breakOff('the aliases stand for more than 1 MiB', at, run);
  if (depth - 1 + target.height > maxDepth)
    return breakOff(`nested more than ${maxDepth} deep`, at, run);
  return { ...target, expansions: target.expansions + 1 };
}

function breakOff(message: string, at: Position, run: Conversion): YamlText {
  if (!run.broken) run.report(at, message);
  run.broken = true;
  return emptyText(at);
}
