import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { escapeUnprintable } from '../../core/safe-text.ts';
import type { Styler } from '../../formats/terminal-style.ts';
import { type YamlDocument, type YamlNode, nodeAt } from '../../formats/yaml-tree.ts';
import { type DsoProblem, keyPath } from '../problem.ts';

/** Where problems are looked for: included files can include others. */
const maxFiles = 100;

/** A problem as people read it: `file:line:column: error: ...`, and the remedy below. */
export function formatProblems(problems: readonly DsoProblem[], style: Styler): string {
  return problems.map((problem) => `${formatProblem(problem, style)}\n`).join('');
}

function formatProblem(
  { place, where, severity, code, message, hint }: DsoProblem,
  style: Styler,
): string {
  const at = place === undefined ? where : `${place.file}:${place.line}:${place.column}`;
  const location = at === '' ? '' : `${style('bold', `${escapeUnprintable(at)}:`)} `;
  const kind = style(severity === 'error' ? 'red' : 'yellow', `${severity}:`);
  const text = escapeUnprintable(`${message} [${code}]`);
  return `${location}${kind} ${text}\n    ${escapeUnprintable(hint)}`;
}

/** Whether one of the problems stops the start. */
export function hasError(problems: readonly DsoProblem[]): boolean {
  return problems.some(({ severity }) => severity === 'error');
}

/** A file's name as messages show it: relative to the current directory if it is below. */
export function displayName(file: string, cwd: string): string {
  const name = relative(cwd, file);
  return name === '' || name.startsWith('..') || isAbsolute(name) ? file : name;
}

type Place = NonNullable<DsoProblem['place']>;

/**
 * Adds the places in files to problems that have none. A later file wins, as in Compose, and a file
 * wins over those that it includes. A key that stands in none of them gets the place of the nearest
 * key above it, but not above its service.
 * @param files paths, in their order
 */
export async function locate(
  problems: readonly DsoProblem[],
  files: readonly string[],
  cwd: string,
): Promise<readonly DsoProblem[]> {
  if (!problems.some(({ place }) => place === undefined)) return problems;
  const { readYamlDocuments } = await import('../../formats/yaml.ts');
  const places = new Map<string, Place>();
  const queue = [...files].reverse();
  for (const path of queue) {
    const text = await readFile(path, 'utf8').catch(() => '');
    const documents = readYamlDocuments(text);
    for (const [key, at] of documents.flatMap(({ root }) => [...placesBelow(root, [])]))
      if (!places.has(key))
        places.set(key, { file: displayName(path, cwd), line: at.line, column: at.column });
    const included = includedFiles(documents).map((name) => resolve(dirname(path), name));
    queue.push(
      ...included.filter((name) => !queue.includes(name)).slice(0, maxFiles - queue.length),
    );
  }
  return problems.map((problem) => {
    const place = problem.place ?? nearest(problem.where, places);
    return place === undefined ? problem : { ...problem, place };
  });
}

/** https://docs.docker.com/reference/compose-file/include */
function includedFiles(documents: readonly YamlDocument[]): readonly string[] {
  const textsOf = (node: YamlNode | undefined): readonly string[] => {
    if (node?.kind === 'scalar') return [node.text];
    if (node?.kind === 'list') return node.items.flatMap(textsOf);
    return node === undefined ? [] : textsOf(nodeAt(node, ['path']));
  };
  return documents.flatMap(({ root }) => textsOf(nodeAt(root, ['include'])));
}

function nearest(where: string, places: ReadonlyMap<string, Place>): Place | undefined {
  for (let key = where; key !== ''; key = key.replace(/(^|\.|\[)[^.[]*$/, '')) {
    const place = places.get(key);
    const isTop = !/[.[]/.test(key);
    if (place !== undefined && !(isTop && key !== where)) return place;
  }
  return undefined;
}

type Keyed = readonly [key: string, at: YamlNode['at']];

/** Each key of the tree. In a list of variables, `- NAME=value` has the key NAME. */
function* placesBelow(
  node: YamlNode | undefined,
  path: readonly (string | number)[],
): Generator<Keyed> {
  if (node?.kind === 'map')
    for (const { key, at, value } of node.entries) {
      yield [keyPath([...path, key]), at];
      yield* placesBelow(value, [...path, key]);
    }
  if (node?.kind !== 'list') return;
  for (const [index, item] of node.items.entries()) {
    yield [keyPath([...path, index]), item.at];
    const [name = ''] = item.kind === 'scalar' ? item.text.split('=') : [];
    if (item.kind === 'scalar') yield [keyPath([...path, name]), item.at];
    yield* placesBelow(item, [...path, index]);
  }
}
