import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { missingPath } from '../../test/missing-path.ts';
import { settingFlags } from '../config/settings.ts';
import { SecretError } from '../core/errors.ts';
import { localCommand } from './local.ts';

const canary = 'canary-57b0-not-to-be-seen';
let directory: string;

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'keyferry-cli-')));
});
afterEach(() => rmSync(directory, { recursive: true }));

type Run = { out: Buffer; err: string };

/** Runs `keyferry local ...` with the store in the test's directory. */
async function run(
  args: string[],
  input?: Uint8Array | string | Readable,
  stop?: AbortSignal,
): Promise<Run> {
  const collected = { out: [] as Buffer[], err: [] as Buffer[] };
  const sink = (chunks: Buffer[]): Writable =>
    new Writable({ write: (chunk: Buffer, _, done) => (chunks.push(chunk), done()) });
  const stdin =
    input instanceof Readable
      ? input
      : Readable.from(input === undefined ? [] : [Buffer.from(input)]);
  const command = localCommand({
    stdin,
    stdout: sink(collected.out),
    stderr: sink(collected.err),
    now: () => Date.UTC(2026, 0, 2),
    ...(stop && { stop }),
  });
  for (const each of [command, ...command.commands])
    each.configureOutput({
      writeErr: (errorText) => void collected.err.push(Buffer.from(errorText)),
    });
  const files = ['--store', join(directory, 'store.age'), '--key', join(directory, 'store.key')];
  await command.parseAsync([...args, ...files], { from: 'user' });
  return { out: Buffer.concat(collected.out), err: Buffer.concat(collected.err).toString() };
}

async function rejectionOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (thrown) {
    if (!(thrown instanceof SecretError)) throw thrown;
    expect(thrown.summary).not.toContain(canary);
    return `${thrown.code} ${thrown.summary}`;
  }
  return 'accepted';
}

const text = async (...args: Parameters<typeof run>): Promise<string> =>
  (await run(...args)).out.toString();

describe('keyferry local', () => {
  test('init, set, get and rm', async () => {
    expect(await text(['init'])).toMatch(
      /^store {2}.*store\.age\nkey {4}.*store\.key \(new; .*\)\npublic age1\w+\n$/,
    );
    expect(await text(['set', 'eu/db'], 'one')).toBe('eu/db v1\n');
    expect(await text(['set', 'eu/db'], 'two')).toBe('eu/db v2\n');
    expect(await text(['get', 'eu/db'])).toBe('two');
    expect(await text(['get', 'eu/db', '--version', 'v1'])).toBe('one');
    expect(await text(['rm', 'eu/db', '--version', 'v1'])).toBe('eu/db v1 removed\n');
    expect(await rejectionOf(run(['get', 'eu/db', '--version', 'v1']))).toContain(
      'OBJECT_NOT_FOUND',
    );
    expect(await text(['rm', 'eu/db'])).toBe('eu/db removed\n');
    expect(await text(['set', 'eu/db'], 'three')).toBe('eu/db v3\n');
  });

  test('stores every byte', async () => {
    await run(['init']);
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    await run(['set', 'all'], bytes);
    expect((await run(['get', 'all'])).out.equals(bytes)).toBe(true);
    writeFileSync(join(directory, 'value'), bytes);
    await run(['set', 'file', '--from-file', join(directory, 'value')]);
    expect((await run(['get', 'file'])).out.equals(bytes)).toBe(true);
  });

  test('keeps a line break at the end with a notice, or removes it with --trim-newline', async () => {
    await run(['init']);
    expect((await run(['set', 'a'], 'x\n')).err).toContain('--trim-newline removes it');
    expect(await text(['get', 'a'])).toBe('x\n');
    for (const [input, expected] of [
      ['x\n', 'x'],
      ['x\r\n', 'x'],
      ['x\n\n', 'x\n'],
      ['x', 'x'],
      ['\r', '\r'],
    ] as const) {
      await run(['set', 'b', '--trim-newline'], input);
      expect(await text(['get', 'b'])).toBe(expected);
    }
  });

  test('set reports an unchanged value and removed versions', async () => {
    await run(['init']);
    for (let value = 1; value <= 10; value += 1) await run(['set', 'a'], `${value}`);
    expect(await text(['set', 'a'], '10')).toBe('a v10 (unchanged)\n');
    expect(await run(['set', 'a'], '11')).toEqual({
      out: Buffer.from('a v11\n'),
      err: 'keyferry: v1 of a removed to make space\n',
    });
  });

  test('list shows names, versions and dates, but no value', async () => {
    await run(['init']);
    await run(['set', 'b'], canary);
    await run(['set', 'b'], `${canary}2`);
    await run(['set', 'a/long-name'], canary);
    await run(['set', 'gone'], canary);
    await run(['rm', 'gone']);
    expect((await text(['list'])).split('\n')).toEqual([
      'NAME         LATEST  SET                       VERSIONS',
      'a/long-name  v1      2026-01-02T00:00:00.000Z  1',
      'b            v2      2026-01-02T00:00:00.000Z  2',
      '',
    ]);
    const created = '2026-01-02T00:00:00.000Z';
    expect(JSON.parse(await text(['list', '--json']))).toEqual([
      { name: 'a/long-name', versions: [{ version: 'v1', created }] },
      {
        name: 'b',
        versions: [
          { version: 'v1', created },
          { version: 'v2', created },
        ],
      },
    ]);
  });

  test('rotate-key prints the new key', async () => {
    const before = /age1\w+/.exec(await text(['init']))?.[0];
    await run(['set', 'a'], canary);
    const { out, err } = await run(['rotate-key']);
    expect(out.toString()).toMatch(/^public age1\w+\n$/);
    expect(out.toString()).not.toContain(before);
    expect(err).toContain('backups');
    expect(await text(['get', 'a'])).toBe(canary);
  });

  test.each([
    [['get', 'a'], 'LOCAL_STORE_UNREADABLE', '`keyferry local init` makes it'],
    [['set', 'a'], 'LOCAL_STORE_UNREADABLE', '`keyferry local init` makes it'],
    [['list'], 'LOCAL_STORE_UNREADABLE', 'it does not exist'],
    [['rotate-key'], 'LOCAL_STORE_UNREADABLE', 'it does not exist'],
  ])('%j fails before init', async (args, code, message) => {
    const errorText = await rejectionOf(run(args, canary));
    expect(errorText).toContain(code);
    expect(errorText).toContain(message);
  });

  const missing = missingPath();
  test.each([
    [['init'], '', 'exists already'],
    [['set', '../x'], canary, 'may hold only'],
    [['set', '__proto__'], canary, 'may hold only'],
    [['set', ''], canary, 'is empty'],
    [['set', 'a'], '', 'no value was given for a'],
    [['set', 'a'], 'x'.repeat(10 * 1024 * 1024), 'larger than 1024 KiB'],
    [
      ['set', 'a', '--from-file', missing],
      '',
      `cannot read ${missing}: no such file; give --from-file a file that you can read`,
    ],
    [['set', 'a', '--from-file', '/'], '', 'cannot read /: is a directory'],
    [['rm', 'nothing'], '', 'has no secret nothing'],
    [['get', 'constructor'], '', 'has no secret constructor'],
  ])('rejects %j and does not change the store', async (args, input, message) => {
    await run(['init']);
    await run(['set', 'kept'], canary);
    expect(await rejectionOf(run(args, input))).toContain(message);
    expect(await text(['list', '--json'])).toContain('"kept"');
    expect(readdirSync(directory).sort()).toEqual(['store.age', 'store.key']);
  });

  test('rejects a value as an argument or from a terminal', async () => {
    await run(['init']);
    await expect(run(['set', 'a', canary])).rejects.toMatchObject({
      code: 'commander.excessArguments',
    });
    const terminal = Object.assign(Readable.from([canary]), { isTTY: true });
    expect(await rejectionOf(run(['set', 'a'], terminal))).toContain('which is a terminal');
  });

  test('stops waiting for input when the process is stopped', async () => {
    await run(['init']);
    const stop = new AbortController();
    const pendingRun = run(['set', 'a'], new Readable({ read: () => undefined }), stop.signal);
    stop.abort(new SecretError('CANCELLED', 'stopped by SIGINT'));
    expect(await rejectionOf(pendingRun)).toContain('stopped by SIGINT');
  });

  test('uses the same files as serve', () => {
    const serveOption = (long: string) => {
      const flag = settingFlags.find((option) => option.long === long);
      return [flag?.envVar, flag?.defaultValue as unknown];
    };
    const options = localCommand().options.map(({ envVar, defaultValue }) => [
      envVar,
      defaultValue as unknown,
    ]);
    expect(options).toEqual([serveOption('--local-store'), serveOption('--local-key')]);
  });
});
