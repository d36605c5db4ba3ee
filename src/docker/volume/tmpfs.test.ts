import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { describeIfAvailable, testIfAvailable } from '../../../test/if-available.ts';
import { type RunProgram, createRunProgram } from '../run-program.ts';
import { prepareTmpfs } from './tmpfs.ts';

const isTmpfs = (directory: string): boolean => statfsSync(directory).type === 0x01021994;
const noDisk = isTmpfs(tmpdir()) ? ['a temporary directory on a disk'] : [];
const noShm = process.platform === 'linux' && isTmpfs('/dev/shm') ? [] : ['a tmpfs at /dev/shm'];
const noRoot = process.getuid?.() === 0 ? [] : ['root'];

let root: string;
let lines: string[];
let mounted: string[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'kf tmpfs-'));
  lines = [];
  mounted = [];
});
afterEach(() => {
  for (const directory of mounted) execFileSync('umount', [directory]);
  rmSync(root, { recursive: true });
});

const log = pino({}, { write: (line: string) => void lines.push(line) });
const runProgram = createRunProgram(process.env);
const noProgram = (): never => {
  throw new Error('no program runs here');
};

describeIfAvailable('a directory on a disk', noDisk)('of prepareTmpfs', () => {
  test('is refused without root, with the reason and the remedy', async () => {
    const directory = join(root, 'volumes');
    await expect(
      prepareTmpfs(directory, { log, isRoot: false, run: noProgram }),
    ).rejects.toMatchObject({
      code: 'NOT_CONFIGURED',
      message: `${directory} is on a disk, and must be a tmpfs: this process is not root, so it cannot mount one`,
      hint: expect.stringContaining('start the agent as root'),
    });
  });

  test('is refused if the mount fails, with and without noswap', async () => {
    const options: string[] = [];
    const run: RunProgram = async (program, args) => {
      options.push(`${program} ${args[3]}`);
      return { code: 32, stdout: '', stderr: 'mount: permission denied.\n' };
    };
    await expect(prepareTmpfs(join(root, 'volumes'), { log, isRoot: true, run })).rejects.toThrow(
      'must be a tmpfs: mount: permission denied.',
    );
    expect(options).toEqual([
      'mount mode=0700,nosuid,nodev,noswap',
      'mount mode=0700,nosuid,nodev',
    ]);
  });

  test('is refused where there is no program to mount with', async () => {
    const run: RunProgram = async () => ({ code: 127, stdout: '', stderr: '' });
    await expect(prepareTmpfs(join(root, 'volumes'), { log, isRoot: true, run })).rejects.toThrow(
      'must be a tmpfs: mount is not installed',
    );
  });

  testIfAvailable('is mounted once as root', noRoot)('is mounted once as root', async () => {
    const directory = join(root, 'a directory');
    await prepareTmpfs(directory, { log, run: runProgram });
    mounted.push(directory);
    await prepareTmpfs(directory, { log, run: runProgram });
    expect(isTmpfs(directory)).toBe(true);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    const own = mounts.filter((line) => line.includes('a\\040directory'));
    expect(own).toHaveLength(1);
    expect(own[0]).toMatch(/nosuid,nodev/);
    expect(own[0]).not.toContain('noexec');
  });
});

describeIfAvailable('a directory on a tmpfs', noShm)('of prepareTmpfs', () => {
  test('serves without root, and the log says that it can be swapped out', async () => {
    const directory = mkdtempSync('/dev/shm/kf-');
    try {
      await prepareTmpfs(directory, { log, isRoot: false, run: noProgram });
      expect(lines.join('')).toContain('can be swapped out');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('prepareTmpfs', () => {
  test('names the flag for a path that cannot be a directory', async () => {
    await expect(prepareTmpfs('/proc/version/x', { log, run: runProgram })).rejects.toMatchObject({
      hint: expect.stringContaining('--volumes-dir'),
    });
  });
});
