import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SecretError } from '../../core/errors.ts';
import type { ChangedFile } from './plan.ts';
import { writeFiles } from './write-files.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'keyferry-write-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function changed(name: string): ChangedFile {
  const path = join(directory, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, 'old');
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  const file = { path, name, kind: 'env', text: 'old', mode: 0o600, uid, gid } as const;
  return { file, edits: [{ start: 0, end: 3, text: 'new' }] };
}

const read = (name: string): string => readFileSync(join(directory, name), 'utf8');
const fine = (): Promise<void> => Promise.resolve();

test('writes all files, and leaves nothing else', async () => {
  await writeFiles([changed('a'), changed('b')], fine);
  expect([read('a'), read('b')]).toEqual(['new', 'new']);
  expect(readdirSync(directory).sort()).toEqual(['a', 'b']);
});

test('puts back what it can, and names the rest', async () => {
  const files = [changed('a'), changed('sub/b')];
  const check = (): Promise<void> => {
    rmSync(join(directory, 'sub'), { recursive: true });
    throw new SecretError('INVALID_REQUEST', 'the check fails');
  };
  await expect(writeFiles(files, check)).rejects.toThrow(
    /^the check fails; these files are changed, and could not be put back: sub\/b$/,
  );
  expect(read('a')).toBe('old');
});

test('puts the first file back if the second one cannot be written', async () => {
  const [first, second] = [changed('a'), changed('b')];
  // No name may be so long, and the new file's is longer.
  const name = 'b'.repeat(250);
  writeFileSync(join(directory, name), 'old');
  const long = { ...second, file: { ...second.file, path: join(directory, name), name } };
  await expect(writeFiles([first, long], fine)).rejects.toThrow(
    /^cannot write .*: ENAMETOOLONG; all files are as they were before$/,
  );
  expect(read('a')).toBe('old');
});

test('puts all files back if the check fails', async () => {
  const files = [changed('a'), changed('b')];
  const check = (): Promise<void> => {
    expect([read('a'), read('b')]).toEqual(['new', 'new']);
    throw new SecretError('INVALID_REQUEST', 'the check fails');
  };
  await expect(writeFiles(files, check)).rejects.toThrow(
    /^the check fails; all files are as they were before$/,
  );
  expect([read('a'), read('b')]).toEqual(['old', 'old']);
});

test('changes nothing if another program has changed a file', async () => {
  const files = [changed('a'), changed('b')];
  writeFileSync(join(directory, 'b'), 'other');
  await expect(writeFiles(files, fine)).rejects.toThrow('another program has changed b');
  expect([read('a'), read('b')]).toEqual(['old', 'other']);
});
