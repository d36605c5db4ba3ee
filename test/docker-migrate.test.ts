import { afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StoreReader } from '../src/providers/local/store/reader.ts';
import { StoreWriter } from '../src/providers/local/store/writer.ts';
import { builtPlugin } from './driver/bundle.ts';
import { type FakeDocker, createFakeDocker } from './fakes/docker-cli.ts';

/** `docker dso migrate`: the built plugin, with a Compose that prints what it is told to. */

const value = 'canary-3d1c-value';
const reference = 'dso://shop/db-password';

let plugin: string;
let folder: string;
let docker: FakeDocker;
beforeAll(async () => {
  plugin = await builtPlugin();
}, 120_000);
beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'kf-migrate-')));
  docker = await createFakeDocker(folder);
  mkdirSync(join(folder, 'app'));
});
afterEach(() => rm(folder, { recursive: true }));

const storePaths = () => ({
  storeFile: join(folder, 'store.age'),
  keyFile: join(folder, 'store.key'),
});
const file = (name: string): string => join(folder, 'app', name);
const compose = (text: string): string =>
  `services:\n  app:\n    image: my-app\n    environment:\n      DB_PASSWORD: ${text}\n`;

/** What Compose prints before the change, and afterwards. */
const answer = (before: string, after = reference): Promise<void> =>
  docker.answer(
    [after, before].map((password, index) => ({
      when: 'config --format json$',
      stdout: JSON.stringify({
        name: 'shop',
        services: { app: { image: 'my-app', environment: { DB_PASSWORD: password } } },
      }),
      ...(index === 0 && { after: 1 }),
    })),
  );

async function makeStore(): Promise<void> {
  const { storeFile, keyFile } = storePaths();
  await new StoreWriter(storePaths()).init();
  writeFileSync(
    join(folder, 'dso.yaml'),
    `providers: {own: {type: local, store_file: ${storeFile}, key_file: ${keyFile}}}\n`,
  );
}

async function run(line: string) {
  const child = spawn(plugin, line.split(' '), {
    cwd: join(folder, 'app'),
    env: {
      PATH: `${docker.bin}:${process.env.PATH ?? ''}`,
      HOME: folder,
      DSO_USER_CONFIG: join(folder, 'dso.yaml'),
    },
  });
  child.stdin.end();
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => void (output[name] += text));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  expect(output.stdout + output.stderr).not.toContain(value);
  const calls = await docker.calls();
  expect(JSON.stringify(calls)).not.toContain(value);
  return { code, ...output };
}

test('prints JSON, without values', async () => {
  await answer(value);
  writeFileSync(file('compose.yaml'), compose(value));
  const { code, stdout } = await run('dso migrate --format json');
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual({
    ...{ version: 1, applied: false, provider: 'local', left: [], commands: [] },
    notes: [
      expect.stringMatching(
        /^there is no local store yet: make it with .*docker dso init --mode local$/,
      ),
    ],
    secrets: [
      { name: 'shop/db-password', reference, variables: [{ service: 'app', name: 'DB_PASSWORD' }] },
    ],
    files: [
      {
        file: 'compose.yaml',
        diff: `--- a/compose.yaml
+++ b/compose.yaml
@@ -2,4 +2,4 @@
   app:
     image: [hidden]
     environment:
-      DB_PASSWORD: [hidden]
+      DB_PASSWORD: ${reference}
`,
      },
    ],
  });
  expect(readFileSync(file('compose.yaml'), 'utf8')).toBe(compose(value));
});

test('writes the store and the files, and says where the backup is', async () => {
  await makeStore();
  await answer(value);
  writeFileSync(file('compose.yaml'), compose(`'${value}' # x`));
  const { code, stdout, stderr } = await run('dso migrate --apply -o json');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const { applied, backup, restore } = JSON.parse(stdout) as Record<string, unknown>;
  expect(applied).toBe(true);
  expect(restore).toBe(`sh ${String(backup)}/restore.sh`);
  expect(readFileSync(join(String(backup), '1-compose.yaml'), 'utf8')).toContain(value);
  expect(readFileSync(file('compose.yaml'), 'utf8')).toBe(compose(`${reference} # x`));
  const stored = await new StoreReader(storePaths()).read();
  const [version] = stored.get('shop/db-password')?.versions ?? [];
  expect(Buffer.from(version?.bytes.reveal() ?? []).toString()).toBe(value);
});

test('puts the files back if Compose then sees another value', async () => {
  await makeStore();
  await answer(value, 'something else');
  writeFileSync(file('compose.yaml'), compose(value));
  const { code, stderr } = await run('dso migrate --apply');
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /^docker dso: the change would alter services\.app\.environment\.DB_PASSWORD in another way than intended; all files are as they were before; the backup is in /,
  );
  expect(readFileSync(file('compose.yaml'), 'utf8')).toBe(compose(value));
});

test('finds nothing in an application that has moved', async () => {
  await answer(reference);
  writeFileSync(file('compose.yaml'), compose(reference));
  expect(await run('dso migrate --apply')).toEqual({
    ...{ code: 0, stderr: '', stdout: 'There is nothing to move.\n' },
  });
});

test('moves a variable that a flag names, and none that one leaves out', async () => {
  await docker.answer([
    {
      when: 'config --format json$',
      stdout: `{"name":"shop","services":{"app":{"environment":{"PIN":"${value}","A_TOKEN":"${value}"}}}}`,
    },
  ]);
  writeFileSync(
    file('compose.yaml'),
    `services: {app: {environment: {PIN: ${value}, A_TOKEN: ${value}}}}\n`,
  );
  const { stdout } = await run('dso migrate --variable PIN --except A_TOKEN');
  expect(stdout).toContain('dso://shop/pin   app PIN');
  expect(stdout).not.toContain('dso://shop/a-token');
});

test.each([
  ['local', 'dsofile://shop/keystore'],
  ['vault', undefined],
  ['huawei', undefined],
])('moves a binary file to %s if its commands keep each byte', async (type, moved) => {
  await docker.answer([
    {
      when: 'config --format json$',
      stdout: JSON.stringify({
        name: 'shop',
        services: {
          app: {
            environment: { KEYSTORE: '/run/secrets/keystore' },
            secrets: [{ source: 'keystore' }],
          },
        },
        secrets: { keystore: { file: file('keystore.jks') } },
      }),
    },
  ]);
  writeFileSync(file('keystore.jks'), Buffer.from([0xfe, 0xed, 0xfe, 0xed]));
  writeFileSync(
    file('compose.yaml'),
    'services: {app: {environment: {KEYSTORE: /run/secrets/keystore}, secrets: [keystore]}}\nsecrets: {keystore: {file: keystore.jks}}\n',
  );
  const { stdout } = await run(`dso migrate --provider ${type}`);
  if (moved !== undefined) expect(stdout).toContain(moved);
  else
    expect(stdout).toBe(
      `There is nothing to move.

These stay as they are:
  the secret keystore of service app: its value is not text in UTF-8, and the commands of ${type} take only text; leave it there, or move it to the local store
`,
    );
});

test.each([
  [
    'migrate --apply',
    1,
    /^docker dso: there is no local store yet; make it with .*docker dso init --mode local; nothing was written\n$/,
  ],
  [
    'migrate --variable DB_PASSWROD',
    1,
    /no service has the variable DB_PASSWROD; did you mean DB_PASSWORD\?/,
  ],
  ['migrate --prefix ../x', 1, /--prefix is not the beginning of a path/],
  ['migrate --provider vault --mount /kv;x', 1, /--mount is not the path of an engine/],
  ['migrate --provider vault --mount=', 1, /--mount is not the path of an engine/],
  ['migrate --provider aws --store x --apply --no-such', 2, /unknown option '--no-such'/],
  ['migrate --provider gcp', 2, /Allowed choices are huawei, aws/],
])('says what is wrong: %s', async (line, expected, message) => {
  await answer(value);
  writeFileSync(file('compose.yaml'), compose(value));
  const { code, stderr } = await run(`dso ${line}`);
  expect(code).toBe(expected);
  expect(stderr).toMatch(message);
  expect(readFileSync(file('compose.yaml'), 'utf8')).toBe(compose(value));
  expect(existsSync(join(folder, '.local'))).toBe(false);
});

test.each([
  ['is no text in UTF-8', Buffer.from([0x61, 0x3a, 0x20, 0x00])],
  ['is no text in UTF-8', Buffer.from([0x61, 0x3a, 0x20, 0xff])],
  ['has more than 1 MiB', Buffer.alloc(1_048_577, '#')],
  ['is not YAML that can be changed (line 1)', Buffer.from('a: [')],
])('refuses a Compose file that %s', async (reason, bytes) => {
  await answer(value);
  writeFileSync(file('compose.yaml'), bytes);
  const { code, stderr } = await run('dso migrate');
  expect(code).toBe(1);
  expect(stderr).toBe(
    `docker dso: compose.yaml ${reason}, so nothing can be moved; correct the file, or leave it out with -f\n`,
  );
});
