import type { Problem } from '../core/plan.ts';
import { sanitizeExternalText } from '../core/safe-text.ts';
import { ExactNumber, type JsonValue, parseJsonText, toJsonText } from './json.ts';
import { nearestName } from './suggest.ts';
import {
  type Position,
  type YamlEntries,
  type YamlEntry,
  type YamlItems,
  type YamlNode,
  type YamlReport,
  type YamlText,
  duplicate,
  readYamlTree,
} from './yaml.ts';

/** Longer texts that look like a number JSON does not know stay text. */
const longestNumber = 400;

/**
 * The JSON that a YAML node stands for. Plain scalars have the types that YAML 1.2's core schema and Go's yaml.v3 (which Vault's users know) agree on:
 * `true`, `null`, decimal, `0x`, `0o`, `0b` and leading-zero octal integers, and floats. A number that is JSON as it stands keeps its characters.
 */
export function yamlToJson(node: YamlNode, report: YamlReport): JsonValue {
  if (node.kind === 'list') return node.items.map((item) => yamlToJson(item, report));
  if (node.kind === 'scalar') return node.quoted ? node.text : plainToJson(node, report);
  const object = Object.create(null) as Record<string, JsonValue>;
  for (const { key, value } of node.entries) object[key] = yamlToJson(value, report);
  return object;
}

/** Whether the scalar is YAML's null: empty, `~` or `null`, without quotes. */
export function isYamlNull({ quoted, text }: YamlText): boolean {
  return !quoted && /^(|~|null|Null|NULL)$/.test(text);
}

function plainToJson(node: YamlText, report: YamlReport): JsonValue {
  const { text } = node;
  if (isYamlNull(node)) return null;
  if (/^(true|True|TRUE)$/.test(text)) return true;
  if (/^(false|False|FALSE)$/.test(text)) return false;
  if (/^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/.test(text)) return new ExactNumber(text);
  if (text.length > longestNumber) return text;
  const integer = /^([-+]?)(0x[\da-f]+|0b[01]+|0o?[0-7]+|[1-9]\d*)$/i.exec(
    text.replaceAll('_', ''),
  );
  if (integer !== null) return new ExactNumber(decimal(integer[1] ?? '', integer[2] ?? ''));
  const float = /^([-+]?)(\d+\.\d*|\.\d+)([eE][-+]?\d+)?$/.exec(text);
  if (float !== null)
    return new ExactNumber(inJsonForm(float[1] ?? '', float[2] ?? '', float[3] ?? ''));
  if (/^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$/.test(text))
    report(node.at, 'JSON has no such number', 'put it in quotes if it is a text');
  return text;
}

function decimal(sign: string, digits: string): string {
  const octal = /^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits;
  return `${sign === '-' ? '-' : ''}${BigInt(octal.toLowerCase())}`;
}

function inJsonForm(sign: string, digits: string, exponent: string): string {
  const [whole = '', fraction = ''] = digits.split('.');
  const point = fraction === '' ? '' : `.${fraction}`;
  return `${sign === '-' ? '-' : ''}${whole.replace(/^0+(?=\d)/, '') || '0'}${point}${exponent}`;
}

/** A scalar as the user wrote it. */
export type YamlScalar = Position & {
  /**
   * A plain scalar: the characters that stand there (`0600`, `1.50`, `true`). A quoted or block scalar: the text it stands for.
   * YAML's null (nothing, `~`, `null`): empty.
   */
  readonly text: string;
  /** In quotes, a block, or tagged `!!str`. */
  readonly quoted: boolean;
};

/** One map of a list. A question about a key that is not there answers `undefined`; a value of the wrong shape is reported, and `undefined`. */
export type YamlMap = {
  /** Where it begins. */
  readonly position: Position;
  /** Its place in its list, from 1. */
  readonly index: number;
  /** Names it in a message: `item 2`, `item 2, jmesPath item 1`. */
  readonly where: string;
  /** Whether the key is there, whatever its value. */
  has(key: string): boolean;
  scalar(key: string): YamlScalar | undefined;
  /** A map within the map; null is none. */
  map(key: string): YamlMap | undefined;
  /** The maps of a list; null is no list. Unreadable items are reported and left out. */
  list(key: string): readonly YamlMap[] | undefined;
  /** `true` or `false`, in any letter case, quoted or not; null is no boolean. */
  boolean(key: string): boolean | undefined;
  /**
   * Canonical JSON text: compact, keys sorted, numbers as they stand. A scalar must itself be JSON text; a map or list is taken as YAML. Null is none.
   */
  json(key: string): string | undefined;
  /** One warning for each key that is not among `known`, with the nearest of them. */
  warnUnknown(known: readonly string[]): void;
};

/** How a list is read. */
export type YamlListOptions = {
  /** The parameter the text came from. */
  readonly parameter: string;
  readonly report: (problem: Problem) => void;
  /** `any-case`: `ObjectName` is `objectName`, and both in one map are a duplicate. Inside `json()` keys are always exact. */
  readonly keys: 'exact' | 'any-case';
  /** Default 500, for each list. */
  readonly maxItems?: number;
};

/** Further problems of one list help nobody. */
const maxProblems = 100;

/**
 * The maps of a parameter that holds a YAML list of maps, `objects` first of all. Never throws: whatever is wrong is reported, and items
 * that could not be read are left out, so that a caller can go on and find further problems. An empty list is an error too.
 */
export function readYamlList(text: string, options: YamlListOptions): readonly YamlMap[] {
  const { parameter, keys, maxItems = 500 } = options;
  let reported = 0;
  const say = (
    severity: Problem['severity'],
    at: Position,
    message: string,
    hint?: string,
  ): void => {
    reported += 1;
    if (reported > maxProblems) return;
    const advice = hint === undefined ? {} : { hint };
    options.report({ severity, code: 'INVALID_CLASS', message, ...advice, parameter, ...at });
  };
  const reader: Reader = {
    error: (at, message, hint) => say('error', at, message, hint),
    warning: (at, message, hint) => say('warning', at, message, hint),
    fold: keys === 'exact' ? (key) => key : (key) => key.toLowerCase(),
    maxItems,
  };
  const root = readYamlTree(text, reader.error);
  const start = { line: 1, column: 1 };
  const empty =
    root === undefined ||
    (root.kind === 'scalar' && isYamlNull(root)) ||
    (root.kind === 'list' && root.items.length === 0);
  if (empty) {
    if (reported === 0)
      reader.error(root?.at ?? start, `\`${parameter}\` is empty`, 'list at least one object');
    return [];
  }
  if (root.kind !== 'list') {
    reader.error(root.at, `\`${parameter}\` is not a list`, 'begin each item with "- "');
    return [];
  }
  return readMaps(root, '', reader);
}

type Reader = {
  readonly error: YamlReport;
  readonly warning: YamlReport;
  readonly fold: (key: string) => string;
  readonly maxItems: number;
};

function readMaps({ items, at }: YamlItems, prefix: string, reader: Reader): readonly YamlMap[] {
  if (items.length > reader.maxItems)
    reader.error(
      at,
      `${prefix || 'the list '}has ${items.length} items; at most ${reader.maxItems} are allowed`,
    );
  return items.slice(0, reader.maxItems).flatMap((item, position) => {
    const where = `${prefix}item ${position + 1}`;
    if (item.kind === 'map') return [readMap(item, position + 1, where, reader)];
    const empty = item.kind === 'scalar' && isYamlNull(item);
    reader.error(
      item.at,
      `${where} is ${empty ? 'empty' : 'not a map'}`,
      'an item is a map of keys and values',
    );
    return [];
  });
}

function readMap(map: YamlEntries, index: number, where: string, reader: Reader): YamlMap {
  const entries = foldKeys(map, reader);
  const find = (key: string): YamlEntry | undefined => entries.get(reader.fold(key));
  const refuse = ({ at }: YamlEntry, key: string, wanted: string): undefined => {
    reader.error(at, `${key} of ${where} must be ${wanted}`);
  };
  const findFilled = (key: string): YamlEntry | undefined => {
    const entry = find(key);
    return entry?.value.kind === 'scalar' && isYamlNull(entry.value) ? undefined : entry;
  };
  return {
    position: map.at,
    index,
    where,
    has: (key) => find(key) !== undefined,
    scalar(key) {
      const entry = find(key);
      if (entry === undefined) return undefined;
      const { value } = entry;
      if (value.kind !== 'scalar') return refuse(entry, key, 'a single value');
      return { text: isYamlNull(value) ? '' : value.text, quoted: value.quoted, ...value.at };
    },
    map(key) {
      const entry = findFilled(key);
      if (entry === undefined) return undefined;
      if (entry.value.kind !== 'map') return refuse(entry, key, 'a map');
      return readMap(entry.value, index, `${where}, ${key}`, reader);
    },
    list(key) {
      const entry = findFilled(key);
      if (entry === undefined) return undefined;
      if (entry.value.kind !== 'list') return refuse(entry, key, 'a list');
      return readMaps(entry.value, `${where}, ${key} `, reader);
    },
    boolean(key) {
      const entry = findFilled(key);
      if (entry === undefined) return undefined;
      const text = entry.value.kind === 'scalar' ? entry.value.text.toLowerCase() : '';
      return text === 'true'
        ? true
        : text === 'false'
          ? false
          : refuse(entry, key, 'true or false');
    },
    json(key) {
      const entry = findFilled(key);
      if (entry === undefined) return undefined;
      if (entry.value.kind !== 'scalar')
        return toJsonText(yamlToJson(entry.value, reader.error), { sorted: true });
      try {
        return toJsonText(parseJsonText(entry.value.text), { sorted: true });
      } catch {
        return refuse(entry, key, 'a map or JSON text');
      }
    },
    warnUnknown(known) {
      const folded = new Set(known.map(reader.fold));
      for (const [key, entry] of entries) {
        if (folded.has(key)) continue;
        const nearest = nearestName(entry.key, known);
        const hint = nearest === undefined ? undefined : `did you mean ${nearest}?`;
        reader.warning(
          entry.at,
          `${where} has a key that means nothing here: ${sanitizeExternalText(entry.key)}`,
          hint,
        );
      }
    },
  };
}

function foldKeys(map: YamlEntries, { fold, error }: Reader): ReadonlyMap<string, YamlEntry> {
  const entries = new Map<string, YamlEntry>();
  for (const entry of map.entries) {
    const key = fold(entry.key);
    const first = entries.get(key);
    if (first === undefined) entries.set(key, entry);
    else if (!entry.merged) error(entry.at, duplicate(entry.key, first.at));
  }
  return entries;
}
