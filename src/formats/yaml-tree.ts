import { type Document, type Pair, isAlias, isMap, isScalar, isSeq } from 'yaml';
import { sanitizeUserText } from '../core/safe-text.ts';
import { explainYamlError } from './yaml-errors.ts';

/** Both counted from 1; columns in UTF-16 code units. */
export type Position = { readonly line: number; readonly column: number };

/** A node of a document, with aliases and merge keys resolved. Aliased nodes are shared. */
export type YamlNode = YamlText | YamlEntries | YamlItems;

/** A scalar. */
export type YamlText = Measured & {
  readonly kind: 'scalar';
  /**
   * A plain scalar: its characters as written. A quoted or block scalar: the text it stands for.
   */
  readonly text: string;
  /** In quotes, a block, or tagged `!!str`: it is text even if it looks like a number. */
  readonly quoted: boolean;
  /** A literal or folded block (`|`, `>`). */
  readonly block: boolean;
};

/** A map, in the order of its text. Entries of merge keys come last. */
export type YamlEntries = Measured & {
  readonly kind: 'map';
  readonly entries: readonly YamlEntry[];
};

/** One key and its value. */
export type YamlEntry = {
  readonly key: string;
  readonly at: Position;
  readonly value: YamlNode;
  /** It comes from a merge key, so an own key of the map overrides it. */
  readonly merged: boolean;
};

/** A list. */
export type YamlItems = Measured & { readonly kind: 'list'; readonly items: readonly YamlNode[] };

/** The cost of a node when its aliases are expanded. */
type Measured = {
  readonly at: Position;
  /** Depth of the nested collections, including itself. */
  readonly height: number;
  /** Characters and nodes. */
  readonly size: number;
};

/** A problem that the reader found. */
export type YamlProblem = {
  readonly at: Position;
  /**
   * - `syntax`: the text is not YAML.
   * - `limit`: the text is YAML that this reader does not accept, such as too many aliases.
   * - `content`: the reader ignored a part, such as an unknown tag.
   *
   * After `syntax` and `limit` the document has no root.
   */
  readonly kind: 'syntax' | 'limit' | 'content';
  /** One of the library's codes, such as `DUPLICATE_KEY`. */
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  /** For a key that occurs twice: the line of the first. */
  readonly firstLine?: number;
};

/** One document of a text. */
export type YamlDocument = {
  /** Where it begins. */
  readonly at: Position;
  /** Undefined for an empty document, and after a problem that leaves no tree. */
  readonly root?: YamlNode;
  readonly problems: readonly YamlProblem[];
};

/** How documents are converted. */
export type ConvertOptions = {
  /** How deep collections may nest. */
  readonly maxDepth: number;
  /** Whether merge keys (`<<`) are resolved. */
  readonly mergeKeys: boolean;
  /**
   * Whether the text is one document, which ends at its first error and in which keys that are not
   * text are left out. Otherwise the JSON of such a key is the key.
   */
  readonly isSingle: boolean;
};

/** The remedy for a class that exceeds a limit. */
export const splitHint = 'split the class';

/** Characters and nodes that all aliases together may expand to. */
const maxExpandedSize = 1_048_576;

/** The node at a path of keys and indexes below a node; undefined if no such node exists. */
export function nodeAt(
  root: YamlNode | undefined,
  path: readonly PropertyKey[],
): YamlNode | undefined {
  return path.reduce<YamlNode | undefined>((node, key) => {
    if (node?.kind === 'map') return node.entries.find((entry) => entry.key === key)?.value;
    return node?.kind === 'list' && typeof key === 'number' ? node.items[key] : undefined;
  }, root);
}

/** The problem of a document that exceeds a limit. */
export function limitProblem(at: Position, message: string, hint?: string): YamlProblem {
  const advice = hint === undefined ? {} : { hint };
  return { at, kind: 'limit', code: 'RESOURCE_EXHAUSTION', message, ...advice };
}

/** Properties of the library's nodes. */
type LibraryNode = {
  readonly range?: readonly [number, number, number] | null | undefined;
  readonly tag?: string;
  readonly anchor?: string;
};

/**
 * Converts the library's nodes of one document. A long list comes in pieces, each of which is a
 * list.
 */
export class YamlConverter {
  readonly #problems: YamlProblem[] = [];
  readonly #positionOf: (offset: number) => Position;
  readonly #options: ConvertOptions;
  readonly #source: string;
  readonly #roots: YamlNode[] = [];
  #at: Position | undefined;
  #syntaxProblem: YamlProblem | undefined;
  /** `undefined`: the anchored node is still being converted. */
  readonly #anchors = new Map<string, YamlNode | undefined>();
  #expandedSize = 0;

  /** @param source the text that the offsets of the converter refer to */
  constructor(positionOf: (offset: number) => Position, options: ConvertOptions, source: string) {
    this.#positionOf = positionOf;
    this.#options = options;
    this.#source = source;
  }

  /** Adds a piece of the document, or the whole. */
  add({ contents, errors: [error], range }: Document.Parsed): void {
    this.#at ??= this.#positionOf(range[0]);
    if (this.#syntaxProblem !== undefined) return;
    if (error === undefined) {
      if (contents != null) this.#roots.push(this.#convert(contents, 1));
      return;
    }
    const { offset, message, hint } = explainYamlError(error, this.#source);
    const at = this.#positionOf(offset);
    this.#syntaxProblem = { at, kind: 'syntax', code: error.code, message, hint };
  }

  /** The document of all pieces. */
  end(): YamlDocument {
    const at = this.#at ?? { line: 1, column: 1 };
    if (this.#syntaxProblem !== undefined) return { at, problems: [this.#syntaxProblem] };
    const root = joinLists(this.#roots);
    const hasTree = root !== undefined && !this.#isRejected();
    return { at, problems: this.#problems, ...(hasTree && { root }) };
  }

  #convert(node: unknown, depth: number): YamlNode {
    const { range, tag, anchor } = (node ?? {}) as LibraryNode;
    const at = this.#positionOf(range?.[0] ?? 0);
    if (isAlias(node)) return this.#resolveAlias(node.source, at, depth);
    if (
      tag !== undefined &&
      !/^(!|tag:yaml\.org,2002:(str|int|float|bool|null|map|seq))$/.test(tag)
    )
      this.#report(
        'TAG_RESOLVE_FAILED',
        at,
        `the tag ${sanitizeUserText(tag)} is not known here`,
        'leave it out',
      );
    if (anchor !== undefined) this.#anchors.set(anchor, undefined);
    const converted = isMap(node)
      ? this.#convertMap(node.items, at, depth)
      : isSeq(node)
        ? this.#convertList(node.items, at, depth)
        : convertScalar(node, at);
    if (anchor !== undefined) this.#anchors.set(anchor, converted);
    return converted;
  }

  #convertList(items: readonly unknown[], at: Position, depth: number): YamlItems {
    const nodes = items.map((item) => this.#convert(item, depth + 1));
    return { kind: 'list', items: nodes, at, ...measure(nodes) };
  }

  #convertMap(pairs: readonly Pair[], at: Position, depth: number): YamlEntries {
    const seen = new Map<string, Position>();
    const own: YamlEntry[] = [];
    const merged: YamlEntry[] = [];
    for (const { key, value } of pairs) {
      const keyAt = this.#positionOf((key as LibraryNode | null)?.range?.[0] ?? 0);
      const isText = isScalar(key) && typeof key.value === 'string';
      if (!isText) this.#report('NON_STRING_KEY', keyAt, 'a key must be plain text');
      if (!isText && this.#options.isSingle) continue;
      const name = isText ? String(key.value) : JSON.stringify(key);
      const node = value === null ? emptyText(keyAt) : this.#convert(value, depth + 1);
      const first = seen.get(name);
      const isMerge = name === '<<' && isScalar(key) && key.type === 'PLAIN';
      if (first !== undefined)
        this.#problems.push({
          ...{ at: keyAt, kind: 'content', code: 'DUPLICATE_KEY' },
          message: duplicateKeyMessage(name),
          firstLine: first.line,
        });
      else if (isMerge && this.#options.mergeKeys) merged.push(...this.#mergedEntries(node));
      else own.push({ key: name, at: keyAt, value: node, merged: false });
      seen.set(name, first ?? keyAt);
    }
    const inherited = new Map<string, YamlEntry>();
    for (const entry of merged)
      if (!seen.has(entry.key) && !inherited.has(entry.key)) inherited.set(entry.key, entry);
    const entries = [...own, ...inherited.values()];
    const values = entries.map(({ value }) => value);
    return { kind: 'map', entries, at, ...measure(values, entries) };
  }

  #mergedEntries(node: YamlNode): YamlEntry[] {
    const maps = node.kind === 'list' ? node.items : [node];
    return maps.flatMap((map) => {
      if (map.kind === 'map') return map.entries.map((entry) => ({ ...entry, merged: true }));
      this.#report('BAD_MERGE', map.at, 'a merge key (<<) accepts only maps');
      return [];
    });
  }

  #resolveAlias(name: string, at: Position, depth: number): YamlNode {
    const { maxDepth } = this.#options;
    const target = this.#anchors.get(name);
    if (target === undefined) {
      const cause = this.#anchors.has(name) ? 'refers to itself' : 'has no anchor before it';
      const hint = 'put a text that begins with * in quotes';
      return this.#reject(at, `the alias ${sanitizeUserText(name)} ${cause}`, hint);
    }
    this.#expandedSize += target.size;
    if (this.#expandedSize > maxExpandedSize)
      return this.#reject(at, 'the aliases expand to more than 1 MiB', splitHint);
    if (depth - 1 + target.height > maxDepth)
      return this.#reject(at, `nested more than ${maxDepth} deep`);
    return target;
  }

  /** Reports that an alias cannot be resolved: once per document. */
  #reject(at: Position, message: string, hint?: string): YamlText {
    if (!this.#isRejected()) this.#problems.push(limitProblem(at, message, hint));
    return emptyText(at);
  }

  #isRejected(): boolean {
    return this.#problems.some(({ kind }) => kind === 'limit');
  }

  #report(code: string, at: Position, message: string, hint?: string): void {
    const advice = hint === undefined ? {} : { hint };
    this.#problems.push({ at, kind: 'content', code, message, ...advice });
  }
}

/** One list of the lists. A single node stays as it is. */
function joinLists(nodes: readonly YamlNode[]): YamlNode | undefined {
  const [first] = nodes;
  if (first === undefined || nodes.length === 1) return first;
  const items = nodes.flatMap((node) => (node.kind === 'list' ? node.items : [node]));
  return { kind: 'list', items, at: first.at, ...measure(items) };
}

function convertScalar(node: unknown, at: Position): YamlText {
  if (!isScalar(node)) return emptyText(at);
  const text = typeof node.value === 'string' ? node.value : '';
  const isTaggedText = node.tag === '!' || node.tag === 'tag:yaml.org,2002:str';
  return {
    ...emptyText(at),
    text,
    quoted: node.type !== 'PLAIN' || isTaggedText,
    block: node.type?.startsWith('BLOCK') === true,
    size: text.length + 1,
  };
}

function emptyText(at: Position): YamlText {
  const cost = { height: 0, size: 1 };
  return { kind: 'scalar', text: '', quoted: false, block: false, at, ...cost };
}

/** The message about a duplicate key in a map. */
export function duplicateKeyMessage(key: string): string {
  return `the key ${sanitizeUserText(key)} occurs twice`;
}

function measure(
  nodes: readonly YamlNode[],
  entries: readonly YamlEntry[] = [],
): Omit<Measured, 'at'> {
  let [height, size] = [0, 1];
  for (const node of nodes) {
    height = Math.max(height, node.height);
    size += node.size;
  }
  for (const { key } of entries) size += key.length + 1;
  return { height: height + 1, size };
}
