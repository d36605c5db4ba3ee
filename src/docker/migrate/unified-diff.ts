import { escapeUnprintable } from '../../core/safe-text.ts';
import { type Edit, applyEdits, lineStart, nextLine, orderEdits } from './text-edits.ts';

const contextLines = 3;

/** Whole lines that the edits change: their indexes before, and their lines afterwards. */
type Change = { readonly first: number; readonly last: number; readonly added: number };

/**
 * A unified diff of a text and its edits. It shows the lines that `mask` makes of both texts, so it
 * has no value that `mask` hides.
 * @param mask returns one line for each line of a text
 */
export function unifiedDiff(
  name: string,
  text: string,
  edits: readonly Edit[],
  mask: (text: string) => readonly string[],
): string {
  const changes = toChanges(text, orderEdits(edits));
  if (changes.length === 0) return '';
  const before = mask(text);
  const after = mask(applyEdits(text, edits));
  const shown = escapeUnprintable(name);
  const lines = [`--- a/${shown}`, `+++ b/${shown}`];
  let shift = 0;
  // A text that ends with a line break has an empty last line, which is no line of a diff.
  const count = before.at(-1) === '' ? before.length - 1 : before.length;
  for (const hunk of toHunks(changes)) {
    const from = Math.max(0, (hunk[0]?.first ?? 0) - contextLines);
    const to = Math.min(count, (hunk.at(-1)?.last ?? 0) + contextLines);
    const body: string[] = [];
    const start = from + shift;
    let at = from;
    for (const { first, last, added } of hunk) {
      body.push(...before.slice(at, first).map((line) => ` ${line}`));
      body.push(...before.slice(first, last).map((line) => `-${line}`));
      body.push(...after.slice(first + shift, first + shift + added).map((line) => `+${line}`));
      shift += added - (last - first);
      at = last;
    }
    body.push(...before.slice(at, to).map((line) => ` ${line}`));
    const newCount = to + shift - start;
    lines.push(`@@ -${range(from, to - from)} +${range(start, newCount)} @@`, ...body);
  }
  return lines.map((line) => `${escapeUnprintable(line.replace(/\r$/, ''))}\n`).join('');
}

/** GNU diff counts from 1, and names the line before an empty range. */
function range(from: number, count: number): string {
  return `${count === 0 ? from : from + 1},${count}`;
}

function toChanges(text: string, edits: readonly Edit[]): readonly Change[] {
  const groups: { start: number; end: number; edits: Edit[] }[] = [];
  for (const edit of edits) {
    const start = lineStart(text, edit.start);
    const endsLine = edit.end > edit.start && text.charAt(edit.end - 1) === '\n';
    // Otherwise what is left of its first line joins the next one.
    const isWhole = edit.text === '' ? edit.start === start : edit.text.endsWith('\n');
    const end = endsLine && isWhole ? edit.end : nextLine(text, edit.end);
    const last = groups.at(-1);
    if (last !== undefined && start < last.end) {
      last.end = Math.max(last.end, end);
      last.edits.push(edit);
    } else groups.push({ start, end, edits: [edit] });
  }
  let line = 0;
  let counted = 0;
  return groups.map(({ start, end, edits: own }) => {
    line += countLines(text.slice(counted, start));
    const first = line;
    const chunk = text.slice(start, end);
    line += countLines(chunk);
    counted = end;
    const moved = own.map((edit) => ({
      ...edit,
      start: edit.start - start,
      end: edit.end - start,
    }));
    return { first, last: line, added: countLines(applyEdits(chunk, moved)) };
  });
}

/** Also one that does not end. */
function countLines(text: string): number {
  return text.split('\n').length - (text === '' || text.endsWith('\n') ? 1 : 0);
}

function toHunks(changes: readonly Change[]): readonly (readonly Change[])[] {
  const hunks: Change[][] = [];
  for (const change of changes) {
    const last = hunks.at(-1);
    const before = last?.at(-1);
    if (before !== undefined && change.first - before.last <= 2 * contextLines) last?.push(change);
    else hunks.push([change]);
  }
  return hunks;
}
