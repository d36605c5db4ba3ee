import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SecretError } from '../core/errors.ts';
import { WriteLock } from './write-lock.ts';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'keyferry-lock-'));
  path = join(directory, 'local.age');
});
afterEach(() => rmSync(directory, { recursive: true }));

const lock = (options?: ConstructorParameters<typeof WriteLock>[1]) =>
  new WriteLock({ path, description: 'local store', toError }, options);
const toError = (cause: unknown): SecretError =>
  new SecretError('LOCAL_STORE_UNREADABLE', 'it cannot be locked', { cause });
const listLockFiles = (): string[] =>
  readdirSync(directory).filter((name) => name.includes('.claim-'));

describe('the write lock', () => {
  test('admits one writer at a time, and leaves no lock file', async () => {
    let concurrent = 0;
    let maxConcurrent = 0;
    const work = async (): Promise<void> => {
      concurrent += 1;
      maxConcurrent = Math.max(maxConcurrent, concurrent);
      await sleep(1);
      concurrent -= 1;
    };
    await Promise.all(Array.from({ length: 8 }, async () => lock().run(work)));
    expect(maxConcurrent).toBe(1);
    expect(listLockFiles()).toEqual([]);
  });

  test('is released when the work fails', async () => {
    await expect(lock().run(async () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(listLockFiles()).toEqual([]);
  });

  test('waits for an active holder, and then names the lock file to remove', async () => {
    await lock().run(async () => {
      await expect(lock({ waitMs: 30 }).run(async () => undefined)).rejects.toMatchObject({
        code: 'STORE_TIMEOUT',
        message: 'another process is writing the local store',
        hint: `try again; if no such process runs, remove ${join(directory, listLockFiles()[0]!)}`,
      });
    });
  });

  test('ignores a lock file whose process is gone, or whose process number is in use again', async () => {
    const exitedProcess = spawn(process.execPath, ['-e', '']);
    await new Promise((resolve) => exitedProcess.on('exit', resolve));
    let ownLockFile = '';
    await lock().run(async () => void ([ownLockFile = ''] = listLockFiles()));
    const [, hostId, , , nonce] = /claim-(\w+)-(\d+)-(\d*)-(\w+)$/.exec(ownLockFile)!;
    const staleLockFiles = [`${exitedProcess.pid}-1`, `${process.pid}-1`].map(
      (process) => `local.age.claim-${hostId}-${process}-${nonce}`,
    );
    for (const name of staleLockFiles) writeFileSync(join(directory, name), '');
    await expect(lock({ waitMs: 0 }).run(async () => listLockFiles())).resolves.toHaveLength(1);
  });

  test('respects a lock file of another host for a minute', async () => {
    const lockFile = join(directory, 'local.age.claim-0123456789ab-1-1-00000000');
    writeFileSync(lockFile, '');
    await expect(lock({ waitMs: 0 }).run(async () => undefined)).rejects.toMatchObject({
      code: 'STORE_TIMEOUT',
    });
    const expiredTime = Date.now() / 1_000 - 61;
    utimesSync(lockFile, expiredTime, expiredTime);
    await expect(lock({ waitMs: 0 }).run(async () => 'in')).resolves.toBe('in');
  });

  test('forbids a write after the lock was held too long', async () => {
    let clock = 1_000_000;
    await lock({ now: () => clock }).run(async (assertHeld) => {
      assertHeld();
      clock += 31_000;
      expect(assertHeld).toThrow(expect.objectContaining({ code: 'STORE_TIMEOUT' }));
    });
  });

  test('reports a problem of the directory', async () => {
    rmSync(directory, { recursive: true });
    await expect(lock().run(async () => undefined)).rejects.toMatchObject({
      code: 'LOCAL_STORE_UNREADABLE',
      cause: { code: 'ENOENT' },
    });
    mkdirSync(directory);
  });
});
