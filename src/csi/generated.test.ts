import { expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const project = join(import.meta.dirname, '../..');

async function readTree(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const texts = await Promise.all(
    paths.map(async (path) => [path.slice(folder.length), await readFile(path, 'utf8')]),
  );
  return Object.fromEntries(texts) as Record<string, string>;
}

test('the generated files are what `npm run proto` would write', async () => {
  const fresh = await mkdtemp(join(tmpdir(), 'kf-proto-'));
  try {
    await promisify(execFile)(process.execPath, [join(project, 'scripts/generate-proto.mjs'), fresh]);
    expect(await readTree(fresh)).toEqual(await readTree(join(project, 'src/csi/generated')));
  } finally {
    await rm(fresh, { recursive: true });
  }
});
