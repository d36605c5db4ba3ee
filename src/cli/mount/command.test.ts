import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { startScriptedProvider } from '../../../test/driver/scripted-provider.ts';
import { missingPath } from '../../../test/missing-path.ts';
import { type RawSettings, parseSettings } from '../../config/settings.ts';
import { SecretError } from '../../core/errors.ts';
import type { MountContext } from '../../mount/mount.ts';
import type { MountRequest, Volume } from '../../mount/types.ts';
import { mountCommand } from './command.ts';

const missingFile = missingPath();
let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kf-mount-'));
});
afterEach(() => rm(dir, { recursive: true }));

const volume: Volume = {
  files: [
    { path: 'login.json', mode: 0o644, contents: Buffer.from('{"user":"u"}') },
    { path: 'tls/key', mode: 0o400, contents: Buffer.from([0, 255, 27]) },
  ],
  versions: [
    { id: 'login.json', version: 'v3' },
    { id: 'tls/key', version: 'v1+0a1b2c3d' },
  ],
};

function spc(name = 'app', namespace = 'shop'): string {
  return [
    'apiVersion: secrets-store.csi.x-k8s.io/v1',
    'kind: SecretProviderClass',
    `metadata: {name: ${name}, namespace: ${namespace}}`,
    'spec: {provider: local, parameters: {objects: "- objectName: a"}}',
    '---',
    '',
  ].join('\n');
}

type Run = {
  provider?: string;
  settings?: RawSettings;
  request?: MountRequest;
  context?: MountContext;
  closed?: boolean;
  output: string;
  lines: string[];
  error?: SecretError;
};

/** Runs the command with a pipeline that returns or throws `outcome`. */
async function mount(
  args: string[],
  options: {
    stdin?: string;
    outcome?: Volume | SecretError;
    stop?: AbortSignal;
    isTTY?: boolean;
    source?: string[];
  } = {},
): Promise<Run> {
  const { source = ['-'], stdin = spc(), outcome = volume, isTTY = false } = options;
  const { stop = new AbortController().signal } = options;
  const run: Run = { output: '', lines: [] };
  const command = mountCommand({
    inProcessMount: (provider, settings) => {
      Object.assign(run, { provider, settings });
      return Promise.resolve({
        mount: (request, context) => {
          Object.assign(run, { request, context });
          return outcome instanceof SecretError
            ? Promise.reject(outcome)
            : Promise.resolve(outcome);
        },
        close: () => Promise.resolve(void (run.closed = true)),
      });
    },
    stdin: Readable.from([Buffer.from(stdin)]),
    env: {},
    stderr: { write: () => undefined },
    stdout: { write: (text) => (run.output += text), isTTY },
    stop,
  });
  command.exitOverride().configureOutput({ writeOut: (text) => (run.output += text) });
  await command
    .parseAsync([...source, ...args], { from: 'user' })
    .catch((error: unknown) => (run.error = error as SecretError));
  run.lines = run.output.trimEnd().split('\n');
  return run;
}

describe('one mount in this process', () => {
  test('sends the request of a driver for a pod', async () => {
    const before = Date.now();
    const { request, context, provider, closed } = await mount([
      '--pod',
      'web-1',
      '--service-account',
      'web',
    ]);
    expect({ ...request!.parameters }).toEqual({ objects: '- objectName: a' });
    expect(request!.workload).toMatchObject({
      tenant: 'shop',
      identity: { name: 'web' },
      pod: { name: 'web-1', uid: expect.stringMatching(/^[0-9a-f-]{36}$/) },
      className: 'app',
      tokens: new Map(),
      secrets: new Map(),
    });
    expect(request!.permission).toBe(0o644);
    expect(provider).toBe('local');
    expect(context!.provider).toBe('local');
    expect(context!.deadline).toBeGreaterThanOrEqual(before + 120_000);
    expect(context!.deadline).toBeLessThanOrEqual(Date.now() + 120_000);
    expect(closed).toBe(true);
  });

  test('reads tokens and keys from files', async () => {
    await writeFile(join(dir, 'token'), 'jwt\n');
    await writeFile(join(dir, 'key'), 'k\n\n');
    const { request } = await mount([
      '--token',
      `https://x?a=b=${dir}/token`,
      '--token',
      `b=${dir}/token`,
      '--secret',
      `id=${dir}/key`,
    ]);
    const { tokens, secrets } = request!.workload;
    expect([...tokens].map(([audience, { token }]) => [audience, token.reveal()])).toEqual([
      ['https://x?a=b', 'jwt'],
      ['b', 'jwt'],
    ]);
    expect([...secrets].map(([key, secret]) => [key, secret.reveal()])).toEqual([['id', 'k\n']]);
  });

  test('passes the settings on', async () => {
    const { settings } = await mount(['--local-store', '/s', '--shared-identities', 'all']);
    expect(parseSettings(settings!)).toMatchObject({
      ...{ localStore: '/s', sharedIdentities: 'all', maxStale: 600_000, providers: ['local'] },
      firstMountPatience: 0,
    });
  });

  test.each([
    ['TOKEN_MISSING', 'give it with --token AUDIENCE=FILE: kubectl create token prints one'],
    ['TOKEN_INVALID', 'check the file of --token, --namespace and --service-account'],
  ] as const)('has a remedy of its own for %s', async (code, hint) => {
    const outcome = new SecretError(code, 'no token', { hint: 'add it to the driver' });
    expect((await mount([], { outcome })).error?.summary).toBe(`${code}: no token; ${hint}`);
  });

  test("fails with the pipeline's error, its code and request id, and closes the pipeline", async () => {
    const outcome = new SecretError('ACCESS_DENIED', 'not for you', { requestId: 'r-1' });
    const { error, closed, output } = await mount([], { outcome });
    expect(error?.summary).toBe('ACCESS_DENIED: not for you (request id r-1)');
    expect({ closed, output }).toEqual({ closed: true, output: '' });
  });

  test('of a vendor whose provider has another name here names it', async () => {
    const stdin = spc().replace('provider: local', 'provider: huawei');
    expect((await mount([], { stdin })).error?.summary).toMatch(/; did you mean cce\?$/);
  });

  test('of another vendor names the provider of the class', async () => {
    const stdin = spc().replace('provider: local', 'provider: azure');
    expect((await mount([], { stdin })).error?.summary).toMatch(
      /^INVALID_CLASS: the class is for the provider "azure", .*; it serves alibabacloud, aws/,
    );
  });

  test('ends when the process is stopped', async () => {
    const reason = new SecretError('CANCELLED', 'stopped by SIGINT');
    expect((await mount([], { stop: AbortSignal.abort(reason) })).error).toBe(reason);
  });
});

describe('what it prints', () => {
  test('files, sizes, modes and versions, and no value', async () => {
    expect((await mount([])).lines).toEqual([
      'class app, provider local, for pod shop/keyferry-mount with service account default',
      '',
      'FILE        BYTES  MODE  VERSION',
      'login.json  12     0644  v3',
      'tls/key     3      0400  v1+0a1b2c3d',
    ]);
  });

  test('with --show the values too, in base64 where they are not printable', async () => {
    expect((await mount(['--show'])).lines.slice(5)).toEqual([
      '',
      '--- login.json',
      '{"user":"u"}',
      '',
      '--- tls/key (in base64)',
      'AP8b',
    ]);
  });

  test('JSON, with values only with --show', async () => {
    const { output } = await mount(['--format', 'json']);
    expect(JSON.parse(output)).toEqual({
      ...{
        class: 'app',
        provider: 'local',
        namespace: 'shop',
        pod: 'keyferry-mount',
        serviceAccount: 'default',
      },
      files: [
        { path: 'login.json', size: 12, mode: '0644' },
        { path: 'tls/key', size: 3, mode: '0400' },
      ],
      versions: volume.versions,
    });
    const shown = JSON.parse((await mount(['--format', 'json', '--show'])).output) as {
      files: unknown[];
    };
    expect(shown.files).toMatchObject([
      { contents: { encoding: 'utf-8', data: '{"user":"u"}' } },
      { contents: { encoding: 'base64', data: 'AP8b' } },
    ]);
  });

  test('the warnings of the class, with their places, before the result', async () => {
    const lines = [
      'apiVersion: secrets-store.csi.x-k8s.io/v1',
      'kind: SecretProviderClass',
      'metadata: {name: app}',
      'spec:',
      '  provider: local',
      '  parameters:',
      '    objekts: x',
      '    objects: |',
      '      - objectName: a',
      '        objctAlias: b',
    ];
    const warnings = [
      '<stdin>:7:14: warning: the parameter objekts is unknown to local; did you mean objects?',
      '<stdin>:10:9: warning: item 1 has an unknown key: objctAlias; did you mean objectAlias?',
    ];
    const stdin = lines.join('\n');
    expect((await mount([], { stdin })).lines.slice(0, 3)).toEqual([
      ...warnings,
      expect.stringMatching(/^class app/),
    ]);
    const outcome = new SecretError('NOT_GRANTED', 'not for you');
    expect((await mount([], { stdin, outcome })).lines).toEqual(warnings);
    const { output } = await mount(['--format', 'json'], { stdin });
    expect(JSON.parse(output)).toMatchObject({ warnings });
  });

  test('the hints of the class too', async () => {
    const stdin = spc()
      .replace('provider: local', 'provider: aws')
      .replace(
        '- objectName: a',
        '- {objectName: a, objectType: secretsmanager, objectAlias: 0123}',
      );
    expect((await mount([], { stdin })).lines[0]).toMatch(
      /^<stdin>:\d+:\d+: hint: objectAlias of item 1 is 0123 here; /,
    );
  });

  test('file names without control characters', async () => {
    const outcome = {
      files: [{ path: 'a\u001b[2J', mode: 0o644, contents: Buffer.from('x') }],
      versions: [],
    };
    expect((await mount(['--show'], { outcome })).output).not.toContain('\u001b');
  });

  test('its headings in bold on a terminal, but no style of a file name and none in JSON', async () => {
    const outcome = {
      files: [{ path: 'a\u001b[2J', mode: 0o644, contents: Buffer.from('x') }],
      versions: [],
    };
    const { output } = await mount(['--show'], { outcome, isTTY: true });
    expect(output.split('\n').filter((line) => line.includes('\u001b'))).toEqual([
      '\u001b[1mFILE   BYTES  MODE  VERSION\u001b[22m',
      `\u001b[1m--- ${String.raw`a\u{1b}[2J`}\u001b[22m`,
    ]);
    const json = await mount(['--format', 'json'], { outcome, isTTY: true });
    expect(json.output).not.toContain('\u001b');
  });
});

describe('--out', () => {
  test('writes the volume as the driver does', async () => {
    const { lines } = await mount(['--out', join(dir, 'volume')]);
    expect(lines.at(-1)).toBe(`written to ${join(dir, 'volume')}`);
    expect(await readFile(join(dir, 'volume/..data/login.json'), 'utf8')).toBe('{"user":"u"}');
  });

  test('reports why the volume cannot be written', async () => {
    await writeFile(join(dir, 'file'), '');
    const { error } = await mount(['--out', join(dir, 'file')]);
    expect(error?.message).toMatch(/^--out .*file cannot be written: (EEXIST|ENOTDIR)$/);
  });
});

describe('--socket', () => {
  test('sends the request to that socket', async () => {
    const provider = await startScriptedProvider(dir, 'p');
    try {
      provider.script({
        objectVersion: [{ id: 'f', version: '1' }],
        files: [{ path: 'f', mode: 420, contents: Buffer.from('x') }],
      });
      const { lines, provider: usedProvider } = await mount(['--socket', provider.socketPath]);
      expect(lines.at(-1)).toBe('f     1      0644  1');
      expect(usedProvider).toBeUndefined();
      expect(JSON.parse(provider.requests[0]!.attributes)).toMatchObject({
        secretProviderClass: 'app',
      });

      provider.script({ code: 'PERMISSION_DENIED', message: 'not for you' });
      expect((await mount(['--socket', provider.socketPath])).error).toMatchObject({
        message: 'PERMISSION_DENIED: not for you',
      });
      provider.script({ objectVersion: [{ id: 'f', version: '1' }], error: { code: 'X' } });
      expect((await mount(['--socket', provider.socketPath])).error).toMatchObject({
        message: expect.stringMatching(/error code X$/),
      });
      const tokenFile = join(dir, 'token');
      await writeFile(tokenFile, 'token-of-the-pod');
      const withToken = ['--socket', provider.socketPath, '--token', `vault=${tokenFile}`];
      provider.script({ code: 'UNKNOWN', message: 'cannot use token-of-the-pod' });
      expect((await mount(withToken)).error).toMatchObject({
        message: 'UNKNOWN: [text withheld: it held a secret]',
      });
      provider.script({ files: [{ path: 'f', mode: 0o644, contents: Buffer.of() }] });
      expect((await mount(['--socket', provider.socketPath])).error).toMatchObject({
        message: expect.stringMatching(/without versions/),
      });
    } finally {
      provider.stop();
    }
  });
});

test('--socket reports a socket without a listener', async () => {
  const { error } = await mount(['--socket', join(dir, 'none.sock')]);
  expect(error?.summary).toBe(
    `cannot connect to ${join(dir, 'none.sock')}: ENOENT; start the provider there, or give the path of its socket with --socket`,
  );
});

describe('the class', () => {
  test('is chosen by name if a file holds several', async () => {
    const stdin = spc('a', 'x') + spc('b', 'shop');
    expect((await mount(['--class', 'b'], { stdin })).lines[0]).toMatch(
      /^class b, .* pod shop\/keyferry-mount /,
    );
    expect((await mount(['--class', 'b', '--namespace', 'z'], { stdin })).lines[0]).toMatch(
      / pod z\/keyferry-mount /,
    );
  });

  test('is mounted in spite of a hint, and of Secrets that the driver would not make', async () => {
    const stdin = spc()
      .replace('/v1', '/v1alpha1')
      .replace('spec: {', 'spec: {secretObjects: [{secretName: s}], ');
    expect((await mount([], { stdin })).lines[0]).toMatch(/^class app, /);
  });

  test.each([
    [
      [],
      spc('a') + spc('b'),
      '- holds more than one SecretProviderClass; choose with --class; it holds a, b',
    ],
    [
      ['--class', 'c'],
      spc('a'),
      '- holds no SecretProviderClass "c"; choose with --class; it holds a',
    ],
    [[], 'kind: Pod', '- holds no SecretProviderClass'],
    [[], 'kind: SecretProviderClass\nx: [', /^<stdin>:2: not YAML: /],
    [
      [],
      spc('app').replace('objects: "- objectName: a"', 'objects: []'),
      /^<stdin>:4: parameter "objects" is a list/,
    ],
    [
      ['--token', 'x'],
      spc(),
      '--token x is not NAME=FILE; put the value into a file and give both',
    ],
    [
      ['--secret', `x=${missingFile}`],
      spc(),
      `--secret cannot read ${missingFile}: no such file; give a file that this process can read`,
    ],
  ])('with %j is rejected if it cannot be mounted (%#)', async (args, stdin, message) => {
    const { error, request } = await mount(args, { stdin });
    expect(request).toBeUndefined();
    if (typeof message === 'string') expect(error?.summary).toBe(message);
    else expect(error?.summary).toMatch(message);
  });

  test.each([[[]], [['-f']], [['--file']]])('is read from a file after %j', async (flag) => {
    const file = join(dir, 'a.yaml');
    await writeFile(file, spc('of-file'));
    const { lines } = await mount([], { source: [...flag, file] });
    expect(lines[0]).toMatch(/^class of-file,/);
  });

  test('is mounted for the namespace of -n, and shown in the format of -o', async () => {
    const { output } = await mount(['-n', 'z', '-o', 'json']);
    expect(JSON.parse(output)).toMatchObject({ namespace: 'z', files: expect.any(Array) });
  });
});

test('the help shows settings under their own heading', async () => {
  const { output, error } = await mount(['--help']);
  expect(error).toMatchObject({ code: 'commander.helpDisplayed' });
  expect(output).toMatch(
    /--show[^]*\nSettings as for serve, without --socket:\n[^]*--local-store[^]*\nExamples:\n/,
  );
});
