import { type Document, isMap, isScalar, isSeq } from 'yaml';
import {
  type Definition,
  type Layers,
  definitionsOf,
  envFilesOf,
  follow,
  get,
  itemsOf,
  pairOf,
  rangeOf,
} from './compose-layers.ts';
import { envEntries } from './env-file.ts';
import type { SourceFile } from './source-file.ts';
import type { Edit } from './text-edits.ts';

/** Where the value of a variable stands. */
export type Place = {
  readonly file: SourceFile;
  /** Variables with one place have one value. */
  readonly id: string;
  /** The value as written, without quotes. Absent: in an env file, or a key without a value. */
  readonly raw?: string;
  /** A key without a value: Compose takes that of the variable with the same name. */
  readonly isBare: boolean;
  /** What writes another value there. */
  readonly edits: (value: string) => readonly Edit[];
};

/**
 * Finds where a variable of a service gets its value, as Compose does: the `environment` of the
 * service and of those that it extends, then their env files.
 * @param envFiles the env files by path
 * @returns the place that counts first, and then those that it overrides
 */
export function findPlaces(
  layers: Layers,
  envFiles: ReadonlyMap<string, SourceFile>,
  service: string,
  name: string,
): readonly Place[] {
  const inYaml = definitionsOf(layers, service).map((definition) => placeIn(definition, name));
  const inEnvFiles = envFilesOf(layers, service).map((path) => {
    const file = envFiles.get(path);
    return file && placeInEnvFile(file, name);
  });
  return [...inYaml, ...inEnvFiles].filter((place) => place !== undefined);
}

function placeIn({ layer, node }: Definition, name: string): Place | undefined {
  const { document, file } = layer;
  const environment = get(document, node, 'environment');
  if (isMap(environment)) return placeInMap(document, environment, name, file);
  if (!isSeq(environment)) return undefined;
  const item = itemsOf(document, environment).findLast(
    (each) => isScalar(each) && nameOf(String(each.value)) === name,
  );
  const range = rangeOf(item);
  if (!isScalar(item) || range === undefined) return undefined;
  const text = String(item.value);
  const isBare = !text.includes('=');
  return {
    ...{ file, id: `${file.path}:${range[0]}`, isBare },
    ...(!isBare && { raw: text.slice(name.length + 1) }),
    edits: (value) => [replaceScalar(file.text, range, `${name}=${value}`)],
  };
}

function placeInMap(
  document: Document.Parsed,
  environment: unknown,
  name: string,
  file: SourceFile,
): Place | undefined {
  const pair = pairOf(document, environment, name);
  if (pair === undefined) return undefined;
  const node = follow(document, pair.value);
  const range = rangeOf(node);
  const key = rangeOf(pair.key);
  const bare = (at: number, before: string): Place => ({
    ...{ file, id: `${file.path}:${at}`, isBare: true },
    edits: (value) => [{ start: at, end: at, text: `${before} ${value}` }],
  });
  const isEmpty = isScalar(node) && range !== undefined && range[0] === range[1];
  if ((node === null || isEmpty) && key !== undefined) {
    // A key in braces needs no colon.
    const [colon = ''] = /^\s*:/.exec(file.text.slice(key[1])) ?? [];
    return bare(key[1] + colon.length, colon === '' ? ':' : '');
  }
  if (!isScalar(node) || range === undefined) return undefined;
  const source = file.text.slice(...range);
  const isBare = node.type === 'PLAIN' && isNullText(source);
  return {
    ...{ file, id: `${file.path}:${range[1]}`, isBare },
    ...(!isBare && { raw: String(node.value) }),
    edits: (value) => [replaceScalar(file.text, range, value)],
  };
}

function placeInEnvFile(file: SourceFile, name: string): Place | undefined {
  const entries = envEntries(file.text).filter((entry) => entry.name === name);
  const [first] = entries;
  if (first === undefined) return undefined;
  return {
    ...{ file, id: `${file.path}:${first.valueStart}`, isBare: false },
    edits: (value) =>
      entries.map(({ valueStart, valueEnd }) => ({
        start: valueStart,
        end: valueEnd,
        text: value,
      })),
  };
}

function nameOf(item: string): string {
  return item.split('=', 1)[0] ?? '';
}

function isNullText(source: string): boolean {
  return ['~', 'null', 'Null', 'NULL'].includes(source);
}

/** A block scalar ends with its line break, which the next line needs. */
function replaceScalar(text: string, [start, end]: readonly [number, number], value: string): Edit {
  const [lineBreak = ''] = /\r?\n$/.exec(text.slice(start, end)) ?? [];
  return { start, end, text: value + lineBreak };
}
