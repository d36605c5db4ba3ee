import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Edit, applyEdits } from './text-edits.ts';
import { unifiedDiff } from './unified-diff.ts';

const lines = (text: string): readonly string[] => text.split('\n');

/** Applies a diff, as `patch` does. */
function patch(text: string, diff: string): string {
  const before = text.split('\n');
  const after: string[] = [];
  let at = 0;
  for (const line of diff.split('\n').slice(2, -1)) {
    const [, from, count] = /^@@ -(\d+),(\d+) /.exec(line) ?? [];
    if (from !== undefined) {
      const start = Number(from) - (count === '0' ? 0 : 1);
      after.push(...before.slice(at, start));
      at = start;
    } else if (line.startsWith('+')) after.push(line.slice(1));
    else {
      expect(before[at]).toBe(line.slice(1));
      if (line.startsWith(' ')) after.push(line.slice(1));
      at += 1;
    }
  }
  return [...after, ...before.slice(at)].join('\n');
}

test('shows three lines around each change, and one hunk for changes that are near', () => {
  const text = Array.from({ length: 20 }, (_, index) => `line ${index + 1}\n`).join('');
  const edit = (word: string, added: string): Edit => {
    const start = text.indexOf(`${word}\n`);
    return { start, end: start + word.length, text: added };
  };
  const removed = text.indexOf('line 17\n');
  const edits = [
    edit('line 2', 'LINE 2'),
    edit('line 5', 'LINE 5\nmore'),
    { start: removed, end: removed + 8, text: '' },
  ];
  expect(unifiedDiff('a b', text, edits, lines)).toBe(`--- a/a b
+++ b/a b
@@ -1,8 +1,9 @@
 line 1
-line 2
+LINE 2
 line 3
 line 4
-line 5
+LINE 5
+more
 line 6
 line 7
 line 8
@@ -14,7 +15,6 @@
 line 14
 line 15
 line 16
-line 17
 line 18
 line 19
 line 20
`);
});

test('is empty without edits', () => expect(unifiedDiff('a', 'x\n', [], lines)).toBe(''));

test('leads from the old text to the new one', () => {
  const text = fc
    .array(fc.constantFrom('', 'a', 'bb', 'ccc', 'dddd'), { minLength: 1, maxLength: 40 })
    .map((each) => `${each.join('\n')}\n`);
  const change = fc.tuple(fc.nat(200), fc.nat(12), fc.constantFrom('', 'X', 'X\nY', 'Z\n'));
  fc.assert(
    fc.property(text, fc.array(change, { maxLength: 5 }), (old, changes) => {
      const edits = changes.map(([at, length, added]) => {
        const start = Math.min(at, old.length - 1);
        return { start, end: Math.min(start + length, old.length - 1), text: added };
      });
      const diff = unifiedDiff('f', old, edits, lines);
      expect(patch(old, diff)).toBe(applyEdits(old, edits));
    }),
  );
});
