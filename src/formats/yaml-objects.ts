import type { Problem } from '../core/plan.ts';
import { sanitizeUserText } from '../core/safe-text.ts';
import type { Steps } from '../core/steps.ts';
import { parseJsonText, toJsonText } from './json.ts';
import { unknownNameHint } from './suggest.ts';
import {
  type Position,
  type YamlEntries,
  type YamlEntry,
  type YamlItems,
  type YamlNode,
  type YamlProblem,
  duplicateKeyMessage,
  splitHint,
  nodeAt,
} from './yaml-tree.ts';
import { readYaml11 } from './yaml-1-1.ts';
import { readYamlInSteps } from './yaml.ts';
import { type YamlReport, isYamlNull, yamlToJson } from './yaml-values.ts';

/** A scalar as the user wrote it. */
export type YamlScalar = Position & {
  /**
   * A plain scalar: its characters as written (`0600`, `1.50`, `true`). A quoted or block scalar:
   * the text it stands for. YAML's null (nothing, `~`, `null`): empty.
   */
  readonly text: string;
  /** In quotes, a block, or tagged `!!str`. */
  readonly quoted: boolean;
};

/** Options of {@link readYamlList}. */
export type YamlListOptions = {
  /** The parameter that holds the text. */
  readonly parameter: string;
  readonly report: (problem: Problem) => void;
  /**
   * `any-case`: `ObjectName` means `objectName`, and both in one map are a duplicate. Keys inside
   * `json()` are always exact.
   */
  readonly keys: 'exact' | 'any-case';
  /** For each list. Default 500. */
  readonly maxItems?: number;
  /** Whether items without content are left out. Default: they are errors. */
  readonly skipEmptyItems?: boolean;
  /** If the vendor's provider reads YAML 1.1: gives hints where it reads another text. */
  readonly yaml11?: Yaml11Reader;
};

/** A parser of YAML 1.1. */
export type Yaml11Reader = {
  /** Words for hints, such as `AWS's provider reads`. */
  readonly subject: string;
  /** The keys whose values are texts. */
  readonly keys: readonly string[];
};

/** More problems of one list are not reported. */
const maxProblems = 100;

/**
 * Reads a parameter that holds a YAML list of maps, such as `objects`. Never throws: problems are
 * reported, and items that cannot be read are left out, so that the caller can find further
 * problems. An empty list is an error too.
 */
export function* readYamlList(text: string, options: YamlListOptions): Steps<readonly YamlMap[]> {
  const { parameter, keys, maxItems = 500, skipEmptyItems = false, yaml11 } = options;
  let reported = 0;
  const addProblem = (
    severity: Problem['severity'],
    at: Position,
    message: string,
    hint?: string,
    firstLine?: number,
  ): void => {
    reported += 1;
    if (reported > maxProblems) return;
    options.report({
      ...{ severity, code: 'INVALID_CLASS', message, parameter, ...at },
      ...(hint !== undefined && { hint }),
      ...(firstLine !== undefined && { firstLine }),
    });
  };
  const reader: Reader = {
    error: (...problem) => addProblem('error', ...problem),
    warning: (...problem) => addProblem('warning', ...problem),
    hint: (...problem) => addProblem('hint', ...problem),
    fold: keys === 'exact' ? (key) => key : (key) => key.toLowerCase(),
    ...{ maxItems, skipEmptyItems, yaml11 },
  };
  const isItem = (node: YamlNode): boolean => !skipEmptyItems || !isEmptyNode(node);
  const { root, problems } = yield* readYamlInSteps(text);
  for (const problem of problems)
    reader.error(problem.at, messageOf(problem), problem.hint, problem.firstLine);
  const start = { line: 1, column: 1 };
  const empty =
    root === undefined ||
    isEmptyNode(root) ||
    (root.kind === 'list' && root.items.filter(isItem).length === 0);
  if (empty) {
    if (reported === 0)
      reader.error(root?.at ?? start, `\`${parameter}\` is empty`, 'list at least one object');
    return [];
  }
  if (root.kind !== 'list') {
    if (nodeAt(root, ['array']) === undefined)
      reader.error(root.at, `\`${parameter}\` is not a list`, 'begin each item with "- "');
    else
      reader.error(
        root.at,
        `\`${parameter}\` has "array:", which is the form of Azure's provider`,
        azureHint,
      );
    return [];
  }
  const texts = root.items.filter(isTextOfMap);
  if (texts[0] !== undefined && texts.length === root.items.length) {
    const message = `the items of \`${parameter}\` are texts, which is the form of Azure's provider`;
    reader.error(texts[0].at, message, azureHint);
    return [];
  }
  return readMaps(root, '', reader);
}

/** https://azure.github.io/secrets-store-csi-driver-provider-azure/docs/getting-started/usage/ */
const azureHint = 'write a list of maps: "- objectName: ...", without "array:" and without "- |"';

function isTextOfMap(item: YamlNode): boolean {
  return item.kind === 'scalar' && item.block && /^\s*\w+:(\s|$)/.test(item.text);
}

function messageOf({ kind, message }: YamlProblem): string {
  return kind === 'syntax' ? `not YAML: ${message}` : message;
}

type Reader = {
  readonly error: YamlReport;
  readonly warning: YamlReport;
  readonly hint: YamlReport;
  readonly fold: (key: string) => string;
  readonly maxItems: number;
  readonly skipEmptyItems: boolean;
  readonly yaml11: Yaml11Reader | undefined;
};

function isEmptyNode(node: YamlNode): boolean {
  return node.kind === 'scalar' && isYamlNull(node);
}

function readMaps({ items, at }: YamlItems, prefix: string, reader: Reader): readonly YamlMap[] {
  if (items.length > reader.maxItems)
    reader.error(
      at,
      `${prefix || 'the list '}has ${items.length} items; at most ${reader.maxItems} are allowed`,
      splitHint,
    );
  return items.slice(0, reader.maxItems).flatMap((item, position) => {
    const where = `${prefix}item ${position + 1}`;
    if (item.kind === 'map') return [new YamlMap(item, position + 1, where, reader)];
    const empty = isEmptyNode(item);
    if (empty && reader.skipEmptyItems) return [];
    reader.error(
      item.at,
      `${where} is ${empty ? 'empty' : 'not a map'}`,
      'an item is a map of keys and values',
    );
    return [];
  });
}

/**
 * One map of a list. The methods return `undefined` for a missing key. They report a value of the
 * wrong type and return `undefined` for it.
 */
export class YamlMap {
  /** Where the map begins. */
  readonly position: Position;
  /** Its index in its list, from 1. */
  readonly index: number;
  /** Its name in messages: `item 2`, `item 2, jmesPath item 1`. */
  readonly where: string;
  readonly #entries: ReadonlyMap<string, YamlEntry>;
  readonly #reader: Reader;

  constructor(map: YamlEntries, index: number, where: string, reader: Reader) {
    this.position = map.at;
    this.index = index;
    this.where = where;
    this.#entries = foldKeys(map, reader);
    this.#reader = reader;
    for (const key of reader.yaml11?.keys ?? []) this.#hintYaml11(key, reader.yaml11?.subject);
  }

  /** Whether the key exists, with any value. */
  has(key: string): boolean {
    return this.#find(key) !== undefined;
  }

  scalar(key: string): YamlScalar | undefined {
    const entry = this.#find(key);
    if (entry === undefined) return undefined;
    const { value } = entry;
    if (value.kind !== 'scalar') return this.#reportType(entry, key, 'a single value');
    return { text: isYamlNull(value) ? '' : value.text, quoted: value.quoted, ...value.at };
  }

  /** A map within the map; `undefined` for null. */
  map(key: string): YamlMap | undefined {
    const entry = this.#findNonNull(key);
    if (entry === undefined) return undefined;
    if (entry.value.kind !== 'map') return this.#reportType(entry, key, 'a map');
    return new YamlMap(entry.value, this.index, `${this.where}, ${key}`, this.#reader);
  }

  /**
   * The maps of a list; `undefined` for null. Items that are not maps are reported and left out.
   */
  list(key: string): readonly YamlMap[] | undefined {
    const entry = this.#findNonNull(key);
    if (entry === undefined) return undefined;
    if (entry.value.kind !== 'list') return this.#reportType(entry, key, 'a list');
    return readMaps(entry.value, `${this.where}, ${key} `, this.#reader);
  }

  /** `true` or `false`, in any letter case, quoted or not; `undefined` for null. */
  boolean(key: string): boolean | undefined {
    const entry = this.#findNonNull(key);
    if (entry === undefined) return undefined;
    const text = entry.value.kind === 'scalar' ? entry.value.text.toLowerCase() : '';
    if (text === 'true' || text === 'false') return text === 'true';
    return this.#reportType(entry, key, 'true or false');
  }

  /**
   * Canonical JSON text: compact, keys sorted, numbers as written. A scalar must itself be JSON
   * text. A map or list is converted from YAML. `undefined` for null.
   */
  json(key: string): string | undefined {
    const entry = this.#findNonNull(key);
    if (entry === undefined) return undefined;
    if (entry.value.kind !== 'scalar')
      return toJsonText(yamlToJson(entry.value, this.#reader.error), { sorted: true });
    try {
      return toJsonText(parseJsonText(entry.value.text), { sorted: true });
    } catch {
      return this.#reportType(entry, key, 'a map or JSON text');
    }
  }

  /**
   * Reports each key that is not in `known`: as an error if `errorOf` returns words to append,
   * otherwise as a warning with the known key that the user most likely means.
   */
  reportUnknown(
    known: readonly string[],
    errorOf: (
      key: string,
    ) => { readonly problem: string; readonly hint: string } | undefined = () => undefined,
  ): void {
    const folded = new Set(known.map(this.#reader.fold));
    const missing = known.filter((key) => !this.has(key));
    for (const [key, entry] of this.#entries) {
      if (folded.has(key)) continue;
      const message = `${this.where} has an unknown key: ${sanitizeUserText(entry.key)}`;
      const error = errorOf(entry.key);
      if (error !== undefined) this.#reader.error(entry.at, message + error.problem, error.hint);
      else this.#reader.warning(entry.at, message, unknownNameHint(entry.key, missing));
    }
  }

  #hintYaml11(key: string, subject = ''): void {
    const value = this.#find(key)?.value;
    if (value?.kind !== 'scalar' || value.quoted) return;
    const other = readYaml11(value.text);
    if (other !== value.text)
      this.#reader.hint(
        value.at,
        `${key} of ${this.where} is ${sanitizeUserText(value.text)} here; ${subject} ${other}`,
        'put the text that you mean in quotes',
      );
  }

  #find(key: string): YamlEntry | undefined {
    return this.#entries.get(this.#reader.fold(key));
  }

  #findNonNull(key: string): YamlEntry | undefined {
    const entry = this.#find(key);
    return entry?.value.kind === 'scalar' && isYamlNull(entry.value) ? undefined : entry;
  }

  #reportType({ at }: YamlEntry, key: string, expected: string): undefined {
    this.#reader.error(at, `${key} of ${this.where} must be ${expected}`);
  }
}

function foldKeys(map: YamlEntries, { fold, error }: Reader): ReadonlyMap<string, YamlEntry> {
  const entries = new Map<string, YamlEntry>();
  for (const entry of map.entries) {
    const key = fold(entry.key);
    const first = entries.get(key);
    if (first === undefined) entries.set(key, entry);
    else if (!entry.merged)
      error(entry.at, duplicateKeyMessage(entry.key), 'remove one of them', first.at.line);
  }
  return entries;
}
