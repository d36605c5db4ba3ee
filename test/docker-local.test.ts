import { afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { addVersion } from '../src/providers/local/store/history.ts';
import { StoreWriter } from '../src/providers/local/store/writer.ts';
import { builtPlugin } from './driver/bundle.ts';
import { type DockerAnswer, type FakeDocker, createFakeDocker } from './fakes/docker-cli.ts';
import { describeIfAvailable } from './if-available.ts';

/** `docker dso --mode local`: the built plugin, with the embedded store and without an agent. */

const hasTmpfs = process.platform === 'linux' && statfsSync('/dev/shm').type === 0x01021994;
const value = 'the-value-of-the-secret';

let plugin: string;
let folder: string;
let runtime: string;
let docker: FakeDocker;
beforeAll(async () => {
  plugin = await builtPlugin();
}, 120_000);
beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'kf-local-')));
  runtime = mkdtempSync('/dev/shm/kf-local-');
  docker = await createFakeDocker(folder);
  for (const path of ['app', 'shim']) mkdirSync(join(folder, path));
  for (const architecture of ['amd64', 'arm64'])
    writeFileSync(join(folder, `shim/dso-shim-linux-${architecture}`), 'the shim');
  const paths = { storeFile: join(folder, 'store.age'), keyFile: join(folder, 'store.key') };
  const writer = new StoreWriter(paths);
  await writer.init();
  const now = new Date().toISOString();
  await writer.change((document) => addVersion(document, 'my-app/db', Buffer.from(value), now));
  configure(`providers:
  local: {type: local, store_file: ${paths.storeFile}, key_file: ${paths.keyFile}}
`);
});
afterEach(async () => {
  rmSync(runtime, { recursive: true });
  await rm(folder, { recursive: true });
});

const configure = (text: string): void => writeFileSync(join(folder, 'dso.yaml'), text);

async function run(line: string, env: Readonly<Record<string, string>> = {}) {
  const child = spawn(plugin, line.split(' '), {
    cwd: join(folder, 'app'),
    env: {
      PATH: `${docker.bin}:${process.env.PATH ?? ''}`,
      HOME: folder,
      XDG_RUNTIME_DIR: runtime,
      DSO_USER_CONFIG: join(folder, 'dso.yaml'),
      DSO_SHIM_DIR: join(folder, 'shim'),
      DSO_AGENT_SOCKET: join(folder, 'no-agent.sock'),
      ...env,
    },
  });
  child.stdin.end();
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => void (output[name] += text));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, ...output };
}

const service = (reference: string) => ({
  ...{ image: 'my-app', command: null, entrypoint: null },
  environment: { DB_PASSWORD: reference },
});
const answers = (services: Readonly<Record<string, object>>): readonly DockerAnswer[] => [
  { when: 'config --format json$', stdout: JSON.stringify({ name: 'shop', services }) },
  { when: '^image inspect', stdout: '{"config":{"Cmd":["run"]},"os":"linux"}\n' },
  { when: '^context inspect', stdout: 'unix:///var/run/docker.sock\n' },
  { when: '^version --format', stdout: `${release()}\n` },
];
const app = { app: service('dso://my-app/db') };
const lastModel = async () => (await docker.calls()).at(-1)?.model;

describeIfAvailable('a tmpfs', hasTmpfs ? [] : ['a tmpfs at /dev/shm'])(
  'docker dso --mode local',
  () => {
    test.each([
      ['dso --mode local up -d', {}],
      ['dso up -d', { DSO_MODE: 'local' }],
      ['dso --mode=local up -d', { DSO_MODE: 'agent' }],
    ] as const)('writes the values, and mounts their directory: %s %j', async (line, env) => {
      await docker.answer(answers(app));
      const { code, stderr } = await run(line, env);
      expect({ code, stderr }).toEqual({
        code: 0,
        stderr:
          'docker dso: local mode, without an agent: nothing notices that a secret changes, and nothing rotates it; docker dso up reads it again\n',
      });
      const directory = join(runtime, 'dso/volumes/dso_shop.app');
      expect(readFileSync(join(directory, 'env'), 'utf8')).toBe(`DB_PASSWORD=${value}\0`);
      expect(readFileSync(join(directory, 'bin/sh'), 'utf8')).toBe('the shim');
      const model = await lastModel();
      expect(model).toMatchObject({
        services: {
          app: {
            entrypoint: ['/run/dso/bin/dso-shim', '--'],
            volumes: [
              {
                ...{ type: 'bind', source: directory, target: '/run/dso', read_only: true },
                bind: { create_host_path: false },
              },
            ],
          },
        },
      });
      expect(model).not.toHaveProperty('volumes');
      const calls = JSON.stringify(await docker.calls());
      expect(calls).not.toContain(value);
      expect(calls).not.toContain('dso://');
    });

    test('warns of a mapping that takes the whole text, and of a credential in plain text', async () => {
      const text = readFileSync(join(folder, 'dso.yaml'), 'utf8');
      const vault = '{type: vault, address: https://v, auth: {method: token, params: {token: x}}}';
      configure(`${text}  vault: ${vault}\ndefaults: {provider: local}\n`);
      writeFileSync(
        join(folder, 'app/dso.yaml'),
        'secrets: [{name: my-app/db, mappings: {password: DB_PASSWORD}}]\n',
      );
      await docker.answer(answers({ app: { ...app.app, environment: { DB_PASSWORD: null } } }));
      const { code, stderr } = await run('dso --mode local up -d');
      expect(code).toBe(0);
      expect(stderr).toMatch(
        /warning: service app: a mapping names a key, .* is used for env\/DB_PASSWORD\n/,
      );
      expect(stderr).toMatch(
        /warning: .*dso.yaml line 3: token stands in the file in plain text; /,
      );
    });

    test('gives Compose the same the second time', async () => {
      await docker.answer(answers(app));
      await run('dso --mode local up -d');
      const first = await lastModel();
      await run('dso --mode local up -d');
      expect(await lastModel()).toEqual(first);
    });

    test('is not chosen by itself: without a mode, the error names it', async () => {
      await docker.answer(answers(app));
      const { code, stderr } = await run('dso up -d');
      expect(code).toBe(1);
      expect(stderr).toMatch(
        /^docker dso: the agent of docker dso does not run: .*; or use docker dso --mode local, without an agent\n$/,
      );
      expect(readdirSync(runtime)).toEqual([]);
    });

    test.each([
      ['dso --mode cloud up', {}, '--mode cannot be cloud'],
      ['dso up', { DSO_MODE: 'x' }, 'DSO_MODE cannot be x'],
    ] as const)('is refused with another name: %s', async (line, env, message) => {
      await docker.answer(answers(app));
      expect(await run(line, env)).toMatchObject({
        code: 1,
        stderr: `docker dso: ${message}; write local for starts without an agent, or agent\n`,
      });
    });

    test('changes nothing for other commands of Compose', async () => {
      await run('dso --mode local top');
      expect((await docker.calls()).map(({ args }) => args.join(' '))).toEqual(['compose top']);
    });

    test('reads only the secrets of services that start', async () => {
      await docker.answer(answers({ ...app, other: service('dso://absent') }));
      expect(await run('dso --mode local up -d app')).toMatchObject({ code: 0 });
      expect(readdirSync(join(runtime, 'dso/volumes'))).toEqual(['dso_shop.app']);
    });

    test('starts nothing if a secret cannot be read, and names all services', async () => {
      await docker.answer(
        answers({ ...app, one: service('dso://absent'), two: service('dso://absent-too') }),
      );
      const { code, stderr } = await run('dso --mode local up -d');
      expect(code).toBe(1);
      expect(stderr).toMatch(/docker dso: service one does not start: .*absent.*service two/);
      expect(stderr).not.toContain(value);
      expect(await lastModel()).toBeUndefined();
      expect(readdirSync(join(runtime, 'dso/volumes'))).toEqual([]);
    });

    test('keeps the grants of the configuration, and says which file has them', async () => {
      const text = readFileSync(join(folder, 'dso.yaml'), 'utf8');
      configure(`${text}agent: {grants: [{projects: [other], paths: ["**"]}]}\n`);
      await docker.answer(answers(app));
      const { stderr } = await run('dso --mode local up -d');
      expect(stderr).toMatch(/shop\/app may not read my-app\/db of store local/);
      expect(stderr).toContain(`add a grant under agent.grants of ${folder}/dso.yaml\n`);
    });

    test('says how to make a configuration', async () => {
      await docker.answer(answers(app));
      const { stderr } = await run('dso --mode local up', { DSO_USER_CONFIG: '/no/dso.yaml' });
      expect(stderr).toContain(
        'docker dso: /no/dso.yaml names no store to read secrets from; run docker dso init on this host\n',
      );
    });

    test('refuses an engine on another machine', async () => {
      const remote = { when: '^context inspect', stdout: 'ssh://admin@prod\n' };
      await docker.answer([remote, ...answers(app)]);
      const { code, stderr } = await run('dso --mode local up -d');
      expect(code).toBe(1);
      expect(stderr).toMatch(/the engine is not on this machine: ssh:.* docker dso system setup/);
      expect(await lastModel()).toBeUndefined();
      expect(readdirSync(join(runtime, 'dso/volumes'))).toEqual([]);
    });

    test('names where it has looked for the shim', async () => {
      await docker.answer(answers(app));
      const { stderr } = await run('dso --mode local up', { DSO_SHIM_DIR: '/no/shim' });
      expect(stderr).toMatch(
        /the shim \/no\/shim\/dso-shim-linux-\w+ cannot be read: .*DSO_SHIM_DIR/,
      );
    });

    test('writes nothing for a dry run', async () => {
      await docker.answer(answers(app));
      expect(await run('dso --mode local up --dry-run')).toMatchObject({ code: 0 });
      expect(readdirSync(join(runtime, 'dso/volumes'))).toEqual([]);
    });

    test.each(['dso down', 'dso --mode local down'])('removes the values: %s', async (line) => {
      await docker.answer(answers(app));
      await run('dso --mode local up -d');
      expect(await run(line)).toMatchObject({ code: 0 });
      expect(readdirSync(join(runtime, 'dso/volumes'))).toEqual([]);
      expect(existsSync(join(runtime, 'dso/services/dso_shop.app.json'))).toBe(false);
    });

    test('keeps the values if down fails, or removes a part', async () => {
      await docker.answer(answers(app));
      await run('dso --mode local up -d');
      await run('dso down app');
      await docker.answer([{ when: ' down', code: 1 }, ...answers(app)]);
      await run('dso down');
      expect(readdirSync(join(runtime, 'dso/volumes'))).toEqual(['dso_shop.app']);
    });
  },
);
