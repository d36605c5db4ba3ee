import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeVolume } from './volume-writer.ts';

let root: string;
let directory: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'kf-volume-'));
  directory = join(root, 'volume');
});
afterEach(() => rm(root, { recursive: true }));

function file(path: string, contents: string | Uint8Array = path, mode = 0o644) {
  return { path, mode, contents: Buffer.from(contents) };
}

function write(...files: ReturnType<typeof file>[]): Promise<boolean> {
  return writeVolume(directory, { files });
}

async function visibleNames(): Promise<string[]> {
  return (await readdir(directory)).filter((name) => !name.startsWith('..')).sort();
}

function read(path: string): Promise<string> {
  return readFile(join(directory, path), 'utf8');
}

describe('a new volume', () => {
  test('has the layout of the driver: a dated directory, ..data that points to it, a symlink for each first component', async () => {
    expect(
      await write(file('login.json', '{}'), file('tls/key', 'K', 0o400), file('tls/crt', 'C')),
    ).toBe(true);

    expect(await visibleNames()).toEqual(['login.json', 'tls']);
    expect(await readlink(join(directory, 'tls'))).toBe('..data/tls');
    expect(await readlink(join(directory, '..data'))).toMatch(
      /^\.\.\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\.[0-9a-f]+$/,
    );
    expect(await read('tls/key')).toBe('K');
    expect((await stat(join(directory, 'tls/key'))).mode & 0o777).toBe(0o400);
    expect((await readdir(directory)).length).toBe(4);
  });

  test('is accessible only to its owner if the directory did not exist', async () => {
    await write(file('a'));
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
  });

  test('has the exact modes with any umask', async () => {
    const umask = process.umask(0o077);
    try {
      await write(file('none', '', 0), file('all', '', 0o777));
    } finally {
      process.umask(umask);
    }
    expect((await stat(join(directory, 'none'))).mode & 0o777).toBe(0);
    expect((await stat(join(directory, 'all'))).mode & 0o777).toBe(0o777);
  });

  test('holds the last of two files with one path', async () => {
    await write(file('a', 'first'), file('a', 'last'));
    expect(await read('a')).toBe('last');
  });

  test('keeps bytes that are not text', async () => {
    const bytes = Buffer.from([0, 255, 254, 10, 13, 0]);
    await write(file('bin', bytes));
    expect(await readFile(join(directory, 'bin'))).toEqual(bytes);
  });
});

describe('the next volume', () => {
  test('replaces contents by one swap of ..data and removes old files', async () => {
    await write(file('a', 'old'), file('gone'), file('d/x'), file('d/y'));
    const before = await readlink(join(directory, '..data'));

    expect(await write(file('a', 'new'), file('d/x'), file('came'))).toBe(true);

    expect(await readlink(join(directory, '..data'))).not.toBe(before);
    expect(await visibleNames()).toEqual(['a', 'came', 'd']);
    expect(await read('a')).toBe('new');
    await expect(read('d/y')).rejects.toThrow('ENOENT');
    // Nothing of the old volume stays on the disk.
    expect((await readdir(directory)).filter((name) => name.startsWith('..')).length).toBe(2);
  });

  test('writes nothing if it is the same', async () => {
    await write(file('a'), file('d/x'));
    const before = await lstat(join(directory, '..data'));
    expect(await write(file('d/x'), file('a'))).toBe(false);
    expect((await lstat(join(directory, '..data'))).ino).toBe(before.ino);
  });

  test('writes nothing if only modes differ, as the driver does', async () => {
    await write(file('a', 'A', 0o644));
    expect(await write(file('a', 'A', 0o400))).toBe(false);
    expect((await stat(join(directory, 'a'))).mode & 0o777).toBe(0o644);
  });

  test('writes modes and owners with `always`', async () => {
    const isRoot = process.getuid?.() === 0;
    const owner = isRoot ? { uid: 1234, gid: 4321 } : {};
    await write(file('a', 'A', 0o644));
    const files = [{ ...file('a', 'A', 0o440), ...owner }];
    expect(await writeVolume(directory, { files }, { always: true })).toBe(true);
    const { mode, uid, gid } = await stat(join(directory, 'a'));
    expect(mode & 0o777).toBe(0o440);
    if (isRoot) expect({ uid, gid }).toEqual(owner);
  });

  test('keeps the old files if it is empty', async () => {
    await write(file('a'));
    expect(await write()).toBe(false);
    expect(await read('a')).toBe('a');
  });

  test('can replace a file by a directory and back', async () => {
    await write(file('a', 'file'));
    await write(file('a/b', 'below'));
    expect(await read('a/b')).toBe('below');
    await write(file('a', 'file again'));
    expect(await read('a')).toBe('file again');
  });
});

describe('writeVolume rejects', () => {
  test.each([
    '',
    '/etc/passwd',
    '../up',
    'a/../b',
    './a',
    'a//b',
    'a/',
    '..data',
    '..x/y',
    'x'.repeat(256),
    'a\0b',
  ])('the path %j before it writes anything', async (path) => {
    await expect(write(file('fine'), file(path))).rejects.toMatchObject({
      name: 'SecretError',
      code: 'INVALID_REQUEST',
    });
    await expect(stat(directory)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('x beside x/y and keeps the old volume', async () => {
    await write(file('x', 'old'));
    await expect(write(file('x'), file('x/y'))).rejects.toThrow();
    expect(await read('x')).toBe('old');
    expect((await readdir(directory)).length).toBe(3);
  });

  test('a file of another program with the same name', async () => {
    await mkdir(directory);
    await writeFile(join(directory, 'a'), 'mine');
    await expect(write(file('a', 'secret'))).rejects.toThrow('is not a file of a mounted volume');
    expect(await readFile(join(directory, 'a'), 'utf8')).toBe('mine');
  });

  test('a ..data that points elsewhere and does not remove its target', async () => {
    await mkdir(directory);
    await mkdir(join(root, 'precious'));
    await symlink('../precious', join(directory, '..data'));
    await expect(write(file('a'))).rejects.toThrow(
      'does not point to a directory of a mounted volume',
    );
    expect((await stat(join(root, 'precious'))).isDirectory()).toBe(true);
  });
});

test('writes exactly the volume after any earlier volumes', async () => {
  const name = fc.constantFrom('a', 'b', 'c', 'key.pem', 'ключ');
  const path = fc.oneof(
    name,
    fc.tuple(fc.constantFrom('d', 'e'), name).map((parts) => parts.join('/')),
  );
  const volume = fc.dictionary(path, fc.string(), { minKeys: 1, maxKeys: 5 });
  await fc.assert(
    fc.asyncProperty(fc.array(volume, { minLength: 1, maxLength: 4 }), async (volumes) => {
      for (const volume of volumes) {
        await write(...Object.entries(volume).map(([path, contents]) => file(path, contents)));
        const data = join(directory, '..data/');
        const entries = await readdir(data, { recursive: true, withFileTypes: true });
        const paths = entries
          .filter((e) => e.isFile())
          .map((e) => join(e.parentPath, e.name).slice(data.length));
        expect(paths.sort()).toEqual(Object.keys(volume).sort());
        for (const [path, contents] of Object.entries(volume))
          expect(await read(path)).toBe(contents.toWellFormed());
      }
    }),
    { numRuns: 30 },
  );
});
