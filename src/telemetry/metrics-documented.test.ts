import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

test('docs/operations.md has every metric, and no other', () => {
  const sources = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && !file.endsWith('.test.ts'),
  );
  const declared = sources.flatMap((file) =>
    [
      ...readFileSync(join('src', file), 'utf8').matchAll(
        /name: '((?:keyferry|process)_[a-z_]+)'/g,
      ),
    ].map(([, name]) => name),
  );
  const page = readFileSync('docs/operations.md', 'utf8');
  const rows = page.split('\n').filter((line) => line.startsWith('| `'));
  const documented = rows.flatMap((row) =>
    [...(row.split(' | ')[0] ?? '').matchAll(/`((?:keyferry|process)_[a-z_]+)/g)].map(
      ([, name]) => name,
    ),
  );
  expect([...new Set(documented)].sort()).toEqual([...new Set(declared)].sort());
  expect(declared.length).toBeGreaterThan(10);
});
