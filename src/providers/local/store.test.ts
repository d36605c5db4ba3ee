import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { build } from 'esbuild';
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { testIfAvailable } from '../../../test/if-available.ts';
import { missingPath } from '../../../test/missing-path.ts';
import { SecretError } from '../../core/errors.ts';
import { encrypt } from './store/age.ts';
import { readEncryptedStore } from './store/encrypted-store.ts';
import { addVersion, findVersion } from './store/history.ts';
import { readKeys } from './store/keys.ts';
import { StoreReader } from './store/reader.ts';
import { StoreWriter } from './store/writer.ts';

const canary = 'canary-8c41-not-to-be-seen';

let directory: string;
let storeFile: string;
let keyFile: string;
let writer: StoreWriter;
let reader: StoreReader;

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'keyferry-store-')));
  storeFile = join(directory, 'local.age');
  keyFile = join(directory, 'local.key');
  writer = new StoreWriter({ storeFile, keyFile });
  reader = new StoreReader({ storeFile, keyFile });
});
afterEach(() => rmSync(directory, { recursive: true }));

const set = async (name: string, value: string): Promise<string> =>
  (
    await writer.change((document) =>
      addVersion(document, name, Buffer.from(value), new Date().toISOString()),
    )
  ).version;
const get = async (name: string, version?: string): Promise<string> =>
  Buffer.from(findVersion(await reader.read(), name, version).bytes.reveal()).toString();

/** The complete error of a promise as text. */
async function rejectionOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'accepted',
    (thrown: unknown) => {
      if (!(thrown instanceof SecretError)) throw thrown;
      const text = [thrown.code, thrown.message, thrown.hint, String(thrown.cause)].join(' ');
      expect(text).not.toContain(canary);
      expect(text).not.toMatch(/AGE-SECRET-KEY-1\w/);
      return text;
    },
  );
}

describe('a local store', () => {
  test('returns every version of a value', async () => {
    await writer.init();
    expect([await set('eu/db', 'one'), await set('eu/db', 'two'), await set('b', canary)]).toEqual([
      'v1',
      'v2',
      'v1',
    ]);
    expect([await get('eu/db'), await get('eu/db', 'v1'), await get('b')]).toEqual([
      'two',
      'one',
      canary,
    ]);
  });

  test('has two files of mode 0600 that show no value, and no other files', async () => {
    await writer.init();
    await set('b', canary);
    expect(readdirSync(directory).sort()).toEqual(['local.age', 'local.key']);
    expect([storeFile, keyFile].map((file) => statSync(file).mode & 0o777)).toEqual([0o600, 0o600]);
    expect(readFileSync(storeFile, 'latin1')).not.toContain(canary);
  });

  test('init makes the directory, uses an existing key, and never overwrites', async () => {
    const nested = { storeFile: join(directory, 'a/local.age'), keyFile };
    const { recipient, keyMade } = await writer.init();
    expect(keyMade).toBe(true);
    expect(await new StoreWriter(nested).init()).toEqual({ recipient, keyMade: false });
    await set('b', canary);
    const before = readFileSync(storeFile);
    expect(await rejectionOf(writer.init())).toContain('exists already');
    expect(readFileSync(storeFile).equals(before)).toBe(true);
  });

  test.each(['/proc/x/local.age', join(missingPath(), 'a/local.age')])(
    'init reports that the directory of %s does not exist',
    async (unusablePath) => {
      expect(
        await rejectionOf(new StoreWriter({ storeFile: unusablePath, keyFile }).init()),
      ).toMatch(/^INVALID_REQUEST cannot make the local store .*: there is no directory /);
      expect(existsSync(keyFile)).toBe(false);
    },
  );

  test('follows a symbolic link and does not replace it', async () => {
    await writer.init();
    const link = join(directory, 'link.age');
    symlinkSync('local.age', link);
    await new StoreWriter({ storeFile: link, keyFile }).change((document) =>
      addVersion(document, 'a', Buffer.from('through'), new Date().toISOString()),
    );
    expect(await get('a')).toBe('through');
    expect((await new StoreReader({ storeFile: link, keyFile }).identify()).path).toBe(storeFile);
  });

  test('overwrites the temporary file of a killed writer', async () => {
    await writer.init();
    symlinkSync(missingPath(), `${storeFile}.tmp`);
    await set('a', 'x');
    writeFileSync(`${storeFile}.tmp`, 'half a file', { mode: 0o644 });
    await set('a', 'y');
    expect(await get('a')).toBe('y');
    expect(statSync(storeFile).mode & 0o777).toBe(0o600);
  });

  test('does not write after an edit that fails or changes nothing', async () => {
    await writer.init();
    await set('a', 'x');
    const before = statSync(storeFile).ino;
    await expect(
      writer.change(() => {
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    await set('a', 'x');
    expect(statSync(storeFile).ino).toBe(before);
  });

  test('rejects a change that needs more than 8 MiB, and keeps the old content', async () => {
    await writer.init();
    const value = Buffer.alloc(1024 * 1024, 'x').toString();
    for (let index = 0; index < 7; index += 1) await set(`s${index}`, value);
    expect(await rejectionOf(set('s8', value))).toContain('would become larger than 8192 KiB');
    expect(await get('s6')).toBe(value);
  });
});

describe('a store that cannot be read', () => {
  const cases: [string, () => unknown, string][] = [
    ['no store', () => rmSync(storeFile), 'local.age: it does not exist `keyferry local init`'],
    ['no key', () => rmSync(keyFile), 'local.key: it does not exist'],
    ['an empty store', () => truncateSync(storeFile), 'it is empty'],
    ['an empty key', () => truncateSync(keyFile), 'it has no key'],
    ['a directory', () => (rmSync(storeFile), mkdirSync(storeFile)), 'it is a directory'],
    ['a directory for a key', () => (rmSync(keyFile), mkdirSync(keyFile)), 'it is a directory'],
    [
      'a pipe',
      () => (rmSync(storeFile), execFileSync('mkfifo', [storeFile])),
      'it is not a regular file',
    ],
    [
      'a path through a file',
      () => (storeFile = join(keyFile, 'x')),
      'a part of its path is not a directory',
    ],
    ['another file', () => writeFileSync(storeFile, canary), 'it is not a (binary) age file'],
    ['a key of words', () => writeFileSync(keyFile, `# a key\n${canary}\n`), 'line 2 is not a key'],
    [
      'a mistyped key',
      () => writeFileSync(keyFile, readFileSync(keyFile, 'latin1').replace(/[A-Z0-9]\n$/, 'B\n')),
      'line 3 is not a key',
    ],
    [
      'a too large one',
      () => truncateSync(storeFile, 9 * 1024 * 1024),
      'it is larger than 8192 KiB',
    ],
    [
      'an encrypted text that is not a store',
      async () => writeEncrypted(canary),
      'its content is malformed: it is not JSON',
    ],
    [
      'a later format',
      async () => writeEncrypted('{"format":"keyferry-local/2"}'),
      'has the format keyferry-local/2',
    ],
  ];
  async function writeEncrypted(plaintext: string): Promise<void> {
    const [key] = await readKeys({ label: 'key of the local store', path: keyFile });
    writeFileSync(storeFile, await encrypt(Buffer.from(plaintext), key));
  }

  test.each(cases)('%s', async (_, corrupt, message) => {
    await writer.init();
    await set('b', canary);
    await corrupt();
    const text = await rejectionOf(new StoreReader({ storeFile, keyFile }).read());
    expect(text).toContain('LOCAL_STORE_UNREADABLE');
    expect(text).toContain(message);
    // A writer fails, too. It must not replace the file with a new store.
    const contentsBefore =
      existsSync(storeFile) && statSync(storeFile).isFile() ? readFileSync(storeFile) : undefined;
    expect(
      await rejectionOf(
        new StoreWriter({ storeFile, keyFile }).change((document) =>
          addVersion(document, 'c', Buffer.from('c'), ''),
        ),
      ),
    ).toContain('LOCAL_STORE_UNREADABLE');
    expect(await rejectionOf(new StoreWriter({ storeFile, keyFile }).rotateKey())).toContain(
      'LOCAL_STORE_UNREADABLE',
    );
    if (contentsBefore !== undefined)
      expect(readFileSync(storeFile).equals(contentsBefore)).toBe(true);
  });

  test("another store's key; the right key still opens the store", async () => {
    await writer.init();
    await set('b', canary);
    const other = new StoreWriter({
      storeFile: join(directory, 'other.age'),
      keyFile: join(directory, 'other.key'),
    });
    await other.init();
    const readerWithWrongKey = new StoreReader({
      storeFile,
      keyFile: join(directory, 'other.key'),
    });
    expect(await rejectionOf(readerWithWrongKey.read())).toContain('is not encrypted for this key');
    expect(await get('b')).toBe(canary);
  });

  test('cut off anywhere, or changed in any byte', async () => {
    await writer.init();
    await set('b', canary);
    const contents = readFileSync(storeFile);
    for (let at = 0; at < contents.length; at += 7) {
      writeFileSync(storeFile, contents.subarray(0, at));
      expect(await rejectionOf(reader.read())).toContain('LOCAL_STORE_UNREADABLE');
      const changed = Buffer.from(contents);
      changed[at]! ^= 1;
      writeFileSync(storeFile, changed);
      expect(await rejectionOf(reader.read())).toContain('LOCAL_STORE_UNREADABLE');
    }
    writeFileSync(storeFile, contents);
    expect(await get('b')).toBe(canary);
  });

  const rootReadsEverything = process.getuid?.() === 0;
  (rootReadsEverything ? test.skip : test)(
    'without permission (skipped for root, which has it)',
    async () => {
      await writer.init();
      chmodSync(storeFile, 0);
      expect(await rejectionOf(reader.read())).toContain('permission denied');
    },
  );
});

describe('the reader', () => {
  test('decrypts an unchanged file once', async () => {
    await writer.init();
    await set('a', 'x');
    backdateFiles();
    const document = await reader.read();
    expect(await reader.read()).toBe(document);
    await set('a', 'y');
    backdateFiles();
    expect(await get('a')).toBe('y');
  });

  test('shares one decryption between concurrent reads', async () => {
    await writer.init();
    await set('a', 'x');
    const documents = await Promise.all(Array.from({ length: 20 }, async () => reader.read()));
    expect(new Set(documents).size).toBe(1);
  });

  test('does not trust a time stamp that the next write can have, too', async () => {
    await writer.init();
    const { mtimeMs } = statSync(storeFile);
    let clock = mtimeMs + 50;
    const readerWithClock = new StoreReader({ storeFile, keyFile, now: () => clock });
    const document = await readerWithClock.read();
    expect(await readerWithClock.read()).not.toBe(document);
    clock = mtimeMs + 150;
    const stableDocument = await readerWithClock.read();
    expect(await readerWithClock.read()).toBe(stableDocument);
  });

  test('does not cache an error', async () => {
    await writer.init();
    await set('a', 'x');
    const contents = readFileSync(storeFile);
    writeFileSync(storeFile, 'broken');
    expect(await rejectionOf(reader.read())).toContain('not a (binary) age file');
    writeFileSync(storeFile, contents);
    expect(await get('a')).toBe('x');
  });

  function backdateFiles(): void {
    const past = Date.now() / 1_000 - 5;
    for (const file of [storeFile, keyFile]) utimesSync(file, past, past);
  }
});

describe('a rotation of the key', () => {
  test('makes the old key useless and keeps every secret', async () => {
    const { recipient } = await writer.init();
    await set('b', canary);
    const oldKey = join(directory, 'old.key');
    writeFileSync(oldKey, readFileSync(keyFile));
    const rotated = await writer.rotateKey();
    expect(rotated.recipient).not.toBe(recipient);
    expect(await get('b')).toBe(canary);
    expect(await rejectionOf(new StoreReader({ storeFile, keyFile: oldKey }).read())).toContain(
      'not encrypted for this key',
    );
    expect(readFileSync(keyFile, 'latin1').match(/^AGE-SECRET-KEY-1/gm)).toHaveLength(1);
  });

  test('loses no secret when it stops between two steps, and the next rotation completes it', async () => {
    await writer.init();
    await set('b', canary);
    const [oldStore, oldKey] = [readFileSync(storeFile), readFileSync(keyFile, 'latin1')];
    await writer.rotateKey();
    const [newStore, newKey] = [readFileSync(storeFile), readFileSync(keyFile, 'latin1')];
    for (const store of [oldStore, newStore]) {
      writeFileSync(storeFile, store);
      writeFileSync(keyFile, `${newKey}${oldKey}`);
      expect(await get('b')).toBe(canary);
      await set('c', 'later');
      await writer.rotateKey();
      expect([await get('b'), await get('c')]).toEqual([canary, 'later']);
      expect(readFileSync(keyFile, 'latin1').match(/^AGE-SECRET-KEY-1/gm)).toHaveLength(1);
    }
  });

  test('does not disturb a read that has read the old key already', async () => {
    await writer.init();
    await set('b', canary);
    const [oldStore, oldKey] = [readFileSync(storeFile), readFileSync(keyFile)];
    await writer.rotateKey();
    const [newStore, newKey] = [readFileSync(storeFile), readFileSync(keyFile)];
    writeFileSync(storeFile, oldStore);
    writeFileSync(keyFile, oldKey);
    const store = {
      label: 'local store',
      get path() {
        writeFileSync(keyFile, newKey);
        writeFileSync(storeFile, newStore);
        return storeFile;
      },
    } as const;
    const key = { label: 'key of the local store', path: keyFile } as const;
    const { document } = await readEncryptedStore({ store, key });
    expect(Buffer.from(findVersion(document, 'b').bytes.reveal()).toString()).toBe(canary);
  });

  test('does not disturb a reader', async () => {
    await writer.init();
    await set('b', canary);
    const rounds = 5;
    let round = 0;
    const rotations = (async () => {
      for (; round < rounds; round += 1) await writer.rotateKey();
    })();
    let reads = 0;
    for (; round < rounds; reads += 1) expect(await get('b')).toBe(canary);
    await rotations;
    expect(reads).toBeGreaterThan(0);
  });
});

describe('two processes', () => {
  let script: string;
  beforeEach(async () => {
    script = join(directory, 'writer.mjs');
    await build({
      stdin: {
        contents: `
          import { addVersion } from './store/history.ts';
          import { StoreWriter } from './store/writer.ts';
          const [storeFile, keyFile, name, count] = process.argv.slice(2);
          const writer = new StoreWriter({ storeFile, keyFile });
          for (let index = 0; index < Number(count); index += 1) {
            await writer.change((document) => addVersion(document, name + index, Buffer.from('value of ' + name + index), new Date().toISOString()));
            process.stdout.write('.');
          }`,
        resolveDir: dirname(fileURLToPath(import.meta.url)),
      },
      bundle: true,
      platform: 'node',
      format: 'esm',
      outfile: script,
      banner: {
        js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
      },
    });
  });

  const start = (name: string, count: number): ChildProcess =>
    spawn(process.execPath, [script, storeFile, keyFile, name, `${count}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  const exit = async (child: ChildProcess): Promise<number | null> =>
    new Promise((resolve) => child.on('exit', (code) => resolve(code)));

  test('with 20 writes each lose none', async () => {
    await writer.init();
    expect(await Promise.all([exit(start('a', 20)), exit(start('b', 20))])).toEqual([0, 0]);
    expect((await reader.read()).size).toBe(40);
    expect(await get('b19')).toBe('value of b19');
    expect(readdirSync(directory).sort()).toEqual(['local.age', 'local.key', 'writer.mjs']);
  });

  test('a killed writer leaves the store intact and does not block the next one', async () => {
    await writer.init();
    for (let round = 0; round < 4; round += 1) {
      const child = start(`killed${round}-`, 1_000);
      await new Promise((resolve) => child.stdout?.once('data', resolve));
      // Later in each round, to interrupt another step of a write.
      await new Promise((resolve) => setTimeout(resolve, round * 3));
      child.kill('SIGKILL');
      await exit(child);
      // Fails with STORE_TIMEOUT if the lock file of the killed process still counts.
      await set(`survivor${round}`, 'x');
      expect(await get(`killed${round}-0`)).toBe(`value of killed${round}-0`);
    }
    expect(readdirSync(directory).filter((name) => name.includes('claim'))).toEqual([]);
  });
});

describe('the age tool', () => {
  const hasAge = spawnSync('age', ['--version']).status === 0;
  const testWithAge = testIfAvailable('the age tool', hasAge ? [] : ['age']);

  testWithAge('opens the store', async () => {
    await writer.init();
    await set('eu/db', canary);
    await writer.rotateKey();
    const plaintext = execFileSync('age', ['-d', '-i', keyFile, storeFile], { encoding: 'utf8' });
    expect(JSON.parse(plaintext)).toMatchObject({
      format: 'keyferry-local/1',
      secrets: {
        'eu/db': { last: 1, versions: [{ version: 'v1', value: canary, encoding: 'utf-8' }] },
      },
    });
  });

  testWithAge('makes keys and files that Keyferry reads', async () => {
    execFileSync('age-keygen', ['-o', keyFile], { stdio: 'pipe' });
    const { recipient, keyMade } = await writer.init();
    expect(keyMade).toBe(false);
    expect(execFileSync('age-keygen', ['-y', keyFile], { encoding: 'utf8' }).trim()).toBe(
      recipient,
    );
    const created = '2026-01-01T00:00:00Z';
    const document = {
      format: 'keyferry-local/1',
      secrets: { db: { versions: [{ version: 'v4', created, value: 'by hand' }] } },
    };
    rmSync(storeFile);
    execFileSync('age', ['-r', recipient, '-o', storeFile], { input: JSON.stringify(document) });
    expect(await get('db', 'v4')).toBe('by hand');
    expect(await set('db', 'next')).toBe('v5');
  });
});
