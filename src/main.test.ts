import { afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { builtBundle } from '../test/driver/bundle.ts';

let bundle: string;
beforeAll(async () => {
  bundle = await builtBundle();
}, 120_000);

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kf-signals-'));
});
afterEach(() => rm(dir, { recursive: true }));

test.each([
  ['lint', 'FILE'],
  ['mount', '-f', 'FILE'],
])('the first signal ends keyferry %s while it waits for a FIFO', async (...command) => {
  const fifo = join(dir, 'class.yaml');
  await promisify(execFile)('mkfifo', [fifo]);
  const args = command.map((arg) => (arg === 'FILE' ? fifo : arg));
  const child = spawn(process.execPath, [bundle, ...args]);
  const ended = once(child, 'exit');
  const [notice] = (await once(child.stderr, 'data')) as [Buffer];
  expect(notice.toString()).toBe(`keyferry: waiting for ${fifo}, which is no file\n`);
  child.kill('SIGINT');
  expect(await ended).toEqual([null, 'SIGINT']);
});
