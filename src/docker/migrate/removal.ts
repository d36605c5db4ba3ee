import { type YAMLMap, type YAMLSeq, isScalar } from 'yaml';
import { rangeOf } from './compose-layers.ts';
import { type Edit, lineStart, nextLine } from './text-edits.ts';

/** What removes items of a list. Those that are written in an unknown way stay. */
export function removeItems(
  text: string,
  list: YAMLSeq,
  indexes: readonly number[],
): readonly Edit[] {
  const ranges = list.items.map(rangeOf);
  return list.flow === true
    ? removeFromFlow(text, ranges, indexes)
    : indexes.flatMap((index) => removeLines(text, ranges[index], /^[ \t]*-[ \t]+$/));
}

/** What removes keys with their values. See {@link removeItems}. */
export function removeKeys(text: string, map: YAMLMap, keys: ReadonlySet<string>): readonly Edit[] {
  const ranges = map.items.map((pair): Range => {
    const own = rangeOf(pair.key);
    const value = rangeOf(pair.value);
    return own === undefined ? undefined : [own[0], Math.max(own[1], value?.[1] ?? 0)];
  });
  const indexes = map.items.flatMap(({ key }, index) =>
    isScalar(key) && keys.has(String(key.value)) ? [index] : [],
  );
  return map.flow === true
    ? removeFromFlow(text, ranges, indexes)
    : indexes.flatMap((index) => removeLines(text, ranges[index], /^[ \t]*$/));
}

type Range = readonly [number, number] | undefined;

/** The whole lines, if what stands before it in its first line matches. */
function removeLines(text: string, range: Range, before: RegExp): readonly Edit[] {
  if (range === undefined) return [];
  const start = lineStart(text, range[0]);
  if (!before.test(text.slice(start, range[0]).replace('\ufeff', ''))) return [];
  const content = text.slice(range[0], range[1]).trimEnd();
  return [{ start, end: nextLine(text, range[0] + content.length), text: '' }];
}

/** With the commas between them. The others stay where they are. */
function removeFromFlow(
  text: string,
  ranges: readonly Range[],
  indexes: readonly number[],
): readonly Edit[] {
  const edits: Edit[] = [];
  for (let index = 0; index < ranges.length; index += 1) {
    if (!indexes.includes(index)) continue;
    let last = index;
    while (indexes.includes(last + 1)) last += 1;
    const [before, first, end, after] = [index - 1, index, last, last + 1].map((at) => ranges[at]);
    index = last;
    if (first === undefined || end === undefined) return [];
    const edit =
      before === undefined
        ? { start: first[0], end: after?.[0] ?? end[1], text: '' }
        : { start: before[1], end: end[1], text: '' };
    // A comment would swallow what follows it.
    if (text.slice(edit.start, edit.end).includes('#')) return [];
    edits.push(edit);
  }
  return edits;
}
