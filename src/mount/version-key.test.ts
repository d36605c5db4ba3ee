import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadVersionKey, readSharedVersionKey } from './version-key.ts';

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'version-key-'));
  path = join(directory, '.keyferry-version-key');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe('the version key of a cluster', () => {
  test('is the same for the same content on every node', async () => {
    const [one, other] = [join(directory, 'one'), join(directory, 'other')];
    await writeFile(one, 'a'.repeat(64));
    await writeFile(other, 'a'.repeat(64));
    const key = await readSharedVersionKey(one);
    expect(key).toHaveLength(32);
    expect(await readSharedVersionKey(other)).toEqual(key);
    await writeFile(other, 'b'.repeat(64));
    expect(await readSharedVersionKey(other)).not.toEqual(key);
  });

  test.each([
    ['is missing', undefined, /--version-key-file .*one cannot be read: no such file/],
    ['is empty', '', /has 0 bytes, at least 16 are needed/],
    ['is short', 'a'.repeat(15), /has 15 bytes, at least 16 are needed/],
  ])('is rejected when the file %s', async (_, content, message) => {
    const file = join(directory, 'one');
    if (content !== undefined) await writeFile(file, content);
    await expect(readSharedVersionKey(file)).rejects.toThrow(message);
  });
});

describe('the version key of a node', () => {
  test('is created once, readable only by its owner', async () => {
    const key = await loadVersionKey(directory);
    expect(key).toHaveLength(32);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await loadVersionKey(directory)).toEqual(key);
    expect(await readdir(directory)).toEqual(['.keyferry-version-key']);
  });

  test('differs between directories', async () => {
    const other = join(directory, 'other');
    await mkdir(other);
    expect(await loadVersionKey(other)).not.toEqual(await loadVersionKey(directory));
  });

  test('is the same for callers that create it at the same time', async () => {
    const keys = await Promise.all(Array.from({ length: 20 }, () => loadVersionKey(directory)));
    expect(new Set(keys.map((key) => Buffer.from(key).toString('hex'))).size).toBe(1);
    expect(await readdir(directory)).toEqual(['.keyferry-version-key']);
  });

  test.each([
    ['cut short', () => truncate(path, 31), 'is not a file of 32 bytes; remove it'],
    ['empty', () => truncate(path, 0), 'is not a file of 32 bytes'],
    [
      'readable by a group',
      () => chmod(path, 0o640),
      'is accessible to users other than its owner',
    ],
    [
      'readable by all users',
      () => chmod(path, 0o604),
      'is accessible to users other than its owner',
    ],
  ])('that is %s is rejected and not changed', async (_, damage, message) => {
    await loadVersionKey(directory);
    await damage();
    const before = await stat(path);
    const error = await loadVersionKey(directory).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'NOT_CONFIGURED',
      summary: expect.stringContaining(message),
    });
    expect((await stat(path)).mtimeMs).toBe(before.mtimeMs);
  });

  test('is rejected when it is a directory or a symbolic link', async () => {
    await mkdir(path);
    await expect(loadVersionKey(directory)).rejects.toMatchObject({ code: 'NOT_CONFIGURED' });
    await rm(path, { recursive: true });
    await writeFile(join(directory, 'elsewhere'), Buffer.alloc(32), { mode: 0o600 });
    await symlink('elsewhere', path);
    await expect(loadVersionKey(directory)).rejects.toMatchObject({
      message: expect.stringContaining('ELOOP'),
    });
  });

  test('creates its directory, or reports why it cannot', async () => {
    expect(await loadVersionKey(join(directory, 'a', 'b'))).toHaveLength(32);
    await writeFile(join(directory, 'file'), '');
    await expect(loadVersionKey(join(directory, 'file', 'below'))).rejects.toMatchObject({
      code: 'NOT_CONFIGURED',
      summary: expect.stringMatching(
        /cannot be read or created: ENOTDIR; --providers-dir must name a directory that Keyferry can write to$/,
      ),
    });
  });
});
