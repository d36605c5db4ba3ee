import { beforeAll, describe, expect, test } from '@jest/globals';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { builtBundle } from '../test/driver/bundle.ts';

let bundle: string;
beforeAll(async () => {
  bundle = await builtBundle();
}, 120_000);

type Result = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

async function keyferry(...args: readonly string[]): Promise<Result> {
  const child = spawn(process.execPath, [bundle, ...args], { env: {}, stdio: 'pipe' });
  child.stdin.end();
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, stdout, stderr };
}

describe('the program', () => {
  test.each([['version'], ['--version']])('prints its version with %s', async (argument) => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(await keyferry(argument)).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });

  test.each([
    ['an unknown command', ['lnit'], "unknown command 'lnit'", 'Did you mean lint?', 'keyferry'],
    ['an unknown flag', ['serve', '--port'], "unknown option '--port'", '', 'keyferry serve'],
    ['a missing value', ['mount', '-f'], "'-f, --file <file>' argument", '', 'keyferry mount'],
    ['no file to lint', ['lint'], "missing required argument 'files'", '', 'keyferry lint'],
    ['no file to mount', ['mount'], "missing required argument 'file'", '', 'keyferry mount'],
    ['two files to mount', ['mount', 'a', '-f', 'b'], 'name two files', '', 'keyferry mount'],
    ['a wrong format', ['lint', '-o', 'xml', 'a'], "'xml' is invalid", '', 'keyferry lint'],
    ['a subcommand', ['local', 'set'], "argument 'name'", '', 'keyferry local set'],
  ])('names the help after %s, with exit code 2', async (_, args, message, hint, path) => {
    const { code, stdout, stderr } = await keyferry(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(message);
    expect(stderr).toContain(hint);
    expect(stderr.trimEnd().split('\n').at(-1)).toBe(`see ${path} --help`);
  });

  test.each([
    ['keyferry', ['help', 'nonsense']],
    ['keyferry local', ['local', 'help', 'nonsense']],
  ])('says after the help of %s that there is no such command', async (path, args) => {
    const { code, stdout, stderr } = await keyferry(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(`Usage: ${path} `);
    expect(stderr.trimEnd().split('\n').at(-1)).toBe("error: unknown command 'nonsense'");
  });

  test('completes all its commands', async () => {
    const { code, stdout } = await keyferry('completion', 'fish');
    expect(code).toBe(0);
    const commands = [...stdout.matchAll(/'__keyferry_at keyferry' -a '([\w-]+)'/g)];
    expect(commands.map(([, name]) => name)).toEqual(
      'serve health mount lint local version completion docker-agent demo'.split(' '),
    );
  });

  test('completes the words of a setting, and reports another word as one line', async () => {
    const { stdout } = await keyferry('completion', 'bash');
    expect(stdout).toMatch(/'keyferry serve --pod-watch'\) .*'on off'/);
    expect(stdout).toMatch(/'keyferry mount --shared-identities'\) .*'granted all none'/);
    expect(await keyferry('serve', '--pod-watch', 'yes')).toEqual({
      code: 1,
      stdout: '',
      stderr: 'keyferry: --pod-watch is "yes"; give one of on, off\n',
    });
  });

  test('takes a short flag with an equals sign, as kubectl does', async () => {
    const { code, stdout } = await keyferry('lint', '-o=json', '-f=deploy/examples/aws/web.yaml');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ summary: { classes: 1, errors: 0 } });
  });

  test('does not name the help where the command line is right', async () => {
    const { code, stderr } = await keyferry('mount', '/dev/null');
    expect(code).toBe(1);
    expect(stderr).toMatch(/^keyferry: .*\/dev\/null holds no SecretProviderClass\n$/);
  });
});

test.each([
  ['lint', 'FILE'],
  ['mount', '-f', 'FILE'],
])('the first signal ends keyferry %s while it waits for a FIFO', async (...command) => {
  const dir = await mkdtemp(join(tmpdir(), 'kf-signals-'));
  try {
    const fifo = join(dir, 'class.yaml');
    await promisify(execFile)('mkfifo', [fifo]);
    const args = command.map((arg) => (arg === 'FILE' ? fifo : arg));
    const child = spawn(process.execPath, [bundle, ...args]);
    const ended = once(child, 'exit');
    const [notice] = (await once(child.stderr, 'data')) as [Buffer];
    expect(notice.toString()).toBe(`keyferry: waiting for ${fifo}, which is no file\n`);
    child.kill('SIGINT');
    expect(await ended).toEqual([null, 'SIGINT']);
  } finally {
    await rm(dir, { recursive: true });
  }
});
