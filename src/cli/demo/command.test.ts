import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { builtBundle } from '../../../test/driver/bundle.ts';
import { SecretError } from '../../core/errors.ts';
import { demoCommand } from './command.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kf-demo-'));
  await mkdir(join(dir, 'tmp'));
});
afterEach(() => rm(dir, { recursive: true }));

describe('the demo of the built bundle', () => {
  let bundle: string;
  beforeAll(async () => {
    bundle = await builtBundle();
  }, 60_000);

  async function demo(): Promise<string> {
    // Settings of a real installation must not reach the demo's own processes.
    const env = {
      TMPDIR: join(dir, 'tmp'),
      KEYFERRY_SHARED_IDENTITIES: 'none',
      KEYFERRY_PROVIDERS: 'cce',
    };
    const { stdout } = await promisify(execFile)(process.execPath, [bundle, 'demo'], { env });
    return stdout;
  }

  test('shows a mount, a change and two failures, in two runs at once, and removes its files', async () => {
    for (const output of await Promise.all([demo(), demo()])) {
      expect(output).toContain('db/password holds: first');
      expect(output).toContain('db/password holds: second');
      expect(output).toMatch(/db\.json +35 +0644 +v2\n/);
      expect(output).toMatch(/\n {5}INVALID_ARGUMENT: .*filePermission/);
      expect(output).toMatch(/\n {5}PERMISSION_DENIED: .*other\/web/);
      expect(output).toMatch(/\nDone: [^\n]+\n$/);
      expect(output).not.toContain('\u001b');
    }
    expect(await readdir(join(dir, 'tmp'))).toEqual([]);
  });

  test('cleans up when it is interrupted', async () => {
    const child = spawn(process.execPath, [bundle, 'demo'], { env: { TMPDIR: join(dir, 'tmp') } });
    let server = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      const started = /process (\d+) responds/.exec(chunk.toString());
      if (started === null) return;
      server = Number(started[1]);
      child.kill('SIGINT');
    });
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect({ code, server: server > 0, left: await readdir(join(dir, 'tmp')) }).toEqual({
      code: 1,
      server: true,
      left: [],
    });
    expect(() => process.kill(server, 0)).toThrow('ESRCH');
  });
});

describe('a demo that fails', () => {
  /** Runs the demo with a script in place of Keyferry. */
  async function demo(script: string, stop = new AbortController().signal) {
    await writeFile(join(dir, 'keyferry.cjs'), script);
    let output = '';
    const command = demoCommand({
      executable: { execPath: process.execPath, script: join(dir, 'keyferry.cjs') },
      env: {},
      stdout: { write: (text) => (output += text) },
      stop,
    });
    const error = await command.parseAsync([], { from: 'user' }).then(
      () => undefined,
      (thrown: unknown) => thrown as SecretError,
    );
    const directory = /All files are in (\S+),/.exec(output)?.[1] ?? '';
    await expect(readdir(directory)).rejects.toMatchObject({ code: 'ENOENT' });
    return { error, output };
  }

  test('reports the failed command and its last line of output', async () => {
    const { error, output } = await demo(
      'console.error("first"); console.error("no space left"); process.exit(3)',
    );
    expect(error?.message).toBe(
      'keyferry local --store store.age --key store.key init exited with code 3: no space left',
    );
    expect(output).not.toContain('Done');
  });

  test('reports a server that exits instead of listening', async () => {
    const { error } = await demo(
      'if (process.argv[2] === "serve") { console.error("no luck"); process.exit(1) }',
    );
    expect(error?.message).toMatch(/^keyferry serve .* exited before it listened: no luck$/);
  });

  test('stops its processes when it is stopped', async () => {
    const stop = new AbortController();
    const reason = new SecretError('CANCELLED', 'stopped by SIGINT');
    setTimeout(() => stop.abort(reason), 50);
    expect((await demo('setInterval(() => {}, 1000)', stop.signal)).error).toBe(reason);
  });
});
