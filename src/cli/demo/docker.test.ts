import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SecretError } from '../../core/errors.ts';
import { demoCommand } from './command.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kf-demo-'));
  for (const name of ['bin', 'shim']) await mkdir(join(dir, name));
  for (const name of ['docker-dso', 'demo-app']) await writeFile(join(dir, name), '');
});
afterEach(() => rm(dir, { recursive: true }));

/** Runs the demo of an installation in `dir`, with a script in place of `docker`. */
async function demo(docker?: string): Promise<string> {
  if (docker !== undefined)
    await writeFile(join(dir, 'bin/docker'), `#!/bin/sh\n${docker}\n`, { mode: 0o755 });
  let output = '';
  const command = demoCommand({
    executable: { execPath: process.execPath, script: join(dir, 'keyferry.js') },
    env: { PATH: join(dir, 'bin') },
    stdout: { write: (text) => (output += text) },
    stop: new AbortController().signal,
  });
  const error = await command.parseAsync(['--docker'], { from: 'user' }).then(
    () => undefined,
    (thrown: unknown) => thrown as SecretError,
  );
  // It begins only if the machine lacks nothing.
  expect(output).toBe('');
  expect(error).toMatchObject({ code: 'NOT_CONFIGURED' });
  return error?.summary ?? '';
}

test.each(['docker-dso', 'shim', 'demo-app'])(
  'says that %s is missing, and how to build it',
  async (name) => {
    await rm(join(dir, name), { recursive: true });
    expect(await demo('exit 0')).toMatch(new RegExp(`needs ${join(dir, name)}.*make demo-docker`));
  },
);

test('says that Docker is missing', async () => {
  expect(await demo()).toMatch(/needs Docker.*install/);
});

test('says that Compose is missing', async () => {
  expect(await demo('[ "$1" != compose ]')).toMatch(
    /needs Docker Compose 2.*docker-compose-plugin/,
  );
});

test('says that it needs root, or that no engine responds', async () => {
  const missing =
    process.getuid?.() === 0
      ? /needs an engine that responds/
      : /needs root.*sudo .* demo --docker/;
  expect(await demo('[ "$1" != version ]')).toMatch(missing);
});
