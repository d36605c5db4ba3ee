import { dirname, resolve } from 'node:path';
import {
  type Document,
  type Node,
  type Pair,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  parseAllDocuments,
} from 'yaml';
import type { SourceFile } from './source-file.ts';

/** One YAML document of a Compose file. */
export type Layer = {
  readonly file: SourceFile;
  readonly document: Document.Parsed;
  /** The directory of relative paths. */
  readonly directory: string;
};

/** The Compose files of an application. */
export type Layers = {
  /** Those with the greatest precedence first: the files, and then those that they include. */
  readonly own: readonly Layer[];
  /** Those of each file, also of files that only `extends` names. */
  readonly byPath: ReadonlyMap<string, readonly Layer[]>;
};

/** The definition of a service in one layer. */
export type Definition = { readonly layer: Layer; readonly node: unknown };

const maxFiles = 100;
/** Of merged maps that merge others. */
const maxDepth = 20;

/**
 * Reads the Compose files, and those that they name.
 * @param read returns undefined for a file that is not there
 */
export async function readLayers(
  files: readonly string[],
  directory: string,
  read: (path: string) => Promise<SourceFile | undefined>,
): Promise<Layers> {
  const byPath = new Map<string, readonly Layer[]>();
  const queue = files.toReversed().map((path) => ({ path, base: directory, isOwn: true }));
  const own: Layer[] = [];
  for (const { path, base, isOwn } of queue) {
    if (byPath.has(path)) continue;
    const file = await read(path);
    if (file === undefined) continue;
    const documents = file.text === '' ? [] : parse(file.text);
    const layers = documents.map((document) => ({ file, document, directory: base }));
    byPath.set(path, layers);
    if (isOwn) own.push(...layers.toReversed());
    const named = layers.flatMap((layer) => [
      ...included(layer).map((name) => ({ path: name, base: dirname(name), isOwn: true })),
      ...extended(layer).map((name) => ({ path: name, base: dirname(name), isOwn: false })),
    ]);
    queue.push(...named.slice(0, maxFiles - queue.length));
  }
  return { own, byPath };
}

function parse(text: string): readonly Document.Parsed[] {
  // All scalars stay as they are written.
  const documents = parseAllDocuments(text, { schema: 'failsafe', logLevel: 'silent' });
  return Array.isArray(documents) ? (documents as Document.Parsed[]) : [];
}

/** https://docs.docker.com/reference/compose-file/include */
function included({ document, directory }: Layer): readonly string[] {
  const paths = itemsOf(document, get(document, document.contents, 'include')).flatMap((item) =>
    isMap(item) ? itemsOf(document, get(document, item, 'path')) : [item],
  );
  return textsOf(paths).map((name) => resolve(directory, name));
}

function extended({ document, directory }: Layer): readonly string[] {
  const services = follow(document, get(document, document.contents, 'services'));
  const definitions = isMap(services)
    ? services.items.map(({ value }) => follow(document, value))
    : [];
  const files = definitions.map((node) => get(document, get(document, node, 'extends'), 'file'));
  return textsOf(files).map((name) => resolve(directory, name));
}

/** The definitions of a service, with the greatest precedence first; then those that it extends. */
export function definitionsOf(layers: Layers, service: string): readonly Definition[] {
  const definitions: Definition[] = [];
  const seen = new Set<unknown>();
  const queue = [{ name: service, among: layers.own }];
  for (const { name, among } of queue)
    for (const layer of among) {
      const { document, directory } = layer;
      const node = get(document, get(document, document.contents, 'services'), name);
      if (node === undefined || node === null || seen.has(node)) continue;
      seen.add(node);
      definitions.push({ layer, node });
      const base = get(document, node, 'extends');
      const [baseName] = textsOf([isMap(base) ? get(document, base, 'service') : base]);
      const [file] = textsOf([get(document, base, 'file')]);
      if (baseName === undefined) continue;
      const there = file === undefined ? among : layers.byPath.get(resolve(directory, file));
      queue.push({ name: baseName, among: there ?? [] });
    }
  return definitions;
}

/** The paths of the env files of a service, with the greatest precedence first. */
export function envFilesOf(layers: Layers, service: string): readonly string[] {
  return definitionsOf(layers, service).flatMap(({ layer, node }) => {
    const { document, directory } = layer;
    const items = itemsOf(document, get(document, node, 'env_file'));
    const paths = items.map((item) => (isMap(item) ? get(document, item, 'path') : item));
    return textsOf(paths)
      .map((path) => resolve(directory, path))
      .toReversed();
  });
}

/** The pair of a key, also from a merged map (`<<`). */
export function pairOf(
  document: Document.Parsed,
  node: unknown,
  key: string,
  depth = 0,
): Pair | undefined {
  const map = follow(document, node);
  if (!isMap(map) || depth > maxDepth) return undefined;
  const own = map.items.find((pair) => isScalar(pair.key) && pair.key.value === key);
  if (own !== undefined) return own;
  for (const pair of map.items)
    if (isScalar(pair.key) && pair.key.value === '<<')
      for (const merged of itemsOf(document, pair.value)) {
        const found = pairOf(document, merged, key, depth + 1);
        if (found !== undefined) return found;
      }
  return undefined;
}

/** The value of a key, behind its alias. */
export function get(document: Document.Parsed, node: unknown, key: string): unknown {
  return follow(document, pairOf(document, node, key)?.value);
}

/** The node behind an alias. */
export function follow(document: Document.Parsed, node: unknown): unknown {
  return isAlias(node) ? node.resolve(document) : node;
}

/** The items of a list, or the node itself. */
export function itemsOf(document: Document.Parsed, node: unknown): readonly unknown[] {
  const list = follow(document, node);
  if (list === undefined || list === null) return [];
  return isSeq(list) ? list.items.map((item) => follow(document, item)) : [list];
}

function textsOf(nodes: readonly unknown[]): readonly string[] {
  return nodes.flatMap((node) =>
    isScalar(node) && typeof node.value === 'string' && node.value !== '' ? [node.value] : [],
  );
}

/** The characters of a node, without its anchor and its tag. */
export function rangeOf(node: unknown): readonly [number, number] | undefined {
  const { range } = (node ?? {}) as Partial<Pick<Node, 'range'>>;
  return range == null ? undefined : [range[0], range[1]];
}
