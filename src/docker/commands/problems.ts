import { readFile } from 'node:fs/promises';
import { isAbsolute, relative } from 'node:path';
import { escapeUnprintable } from '../../core/safe-text.ts';
import type { Styler } from '../../formats/terminal-style.ts';
import type { YamlNode } from '../../formats/yaml-tree.ts';
import { readYamlDocuments } from '../../formats/yaml.ts';
import { type DsoProblem, keyPath } from '../problem.ts';

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

/**
 * Adds the places in files to problems that have none. A later file wins, as in Compose. A key that
 * stands in none of them, such as one of an included file, gets the place of the nearest key above
 * it, but not above its service.
 * @param files paths, in their order
 */
export async function locate(
  problems: readonly DsoProblem[],
  files: readonly string[],
  cwd: string,
): Promise<readonly DsoProblem[]> {
  if (!problems.some(({ place }) => place === undefined)) return problems;
  const places = new Map<string, NonNullable<DsoProblem['place']>>();
  for (const path of files) {
    const file = displayName(path, cwd);
    const text = await readFile(path, 'utf8').catch(() => '');
    for (const { root } of readYamlDocuments(text))
      for (const [key, at] of placesBelow(root, []))
        places.set(key, { file, line: at.line, column: at.column });
  }
  return problems.map((problem) => {
    const place = problem.place ?? nearest(problem.where, places);
    return place === undefined ? problem : { ...problem, place };
  });
}

function nearest<Place>(where: string, places: ReadonlyMap<string, Place>): Place | undefined {
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
