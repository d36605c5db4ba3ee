import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type AgentOptions,
  MemoryStore,
  TestAgent,
  agentFolder,
  eventually,
  requestOver,
} from '../../../test/docker/agent.ts';
import { SecretError } from '../../core/errors.ts';
import type { ServiceStatus } from '../agent-api.ts';

const canary = 'canary-7f3a-in-no-file';
let folder: string;
let removeFolder: () => void;
let store: MemoryStore;
let running: TestAgent[];

beforeEach(() => {
  ({ folder, remove: removeFolder } = agentFolder());
  store = new MemoryStore();
  store.values.set('db', JSON.stringify({ user: 'app', password: canary }));
  store.values.set('token', canary);
  running = [];
});
afterEach(async () => {
  await Promise.all(running.map((agent) => agent.stop(0)));
  removeFolder();
});

async function start(options: Partial<AgentOptions> = {}): Promise<TestAgent> {
  const agent = new TestAgent({ folder, store, ...options });
  await agent.agent.start();
  running.push(agent);
  return agent;
}

/** As a process that is killed: its sockets stay, and refuse connections. */
async function kill(agent: TestAgent): Promise<void> {
  await agent.stop(0);
  running.splice(running.indexOf(agent), 1);
}

const variable = (name: string, path: string, field?: string) => ({
  name,
  ref: { path, ...(field !== undefined && { field }) },
});
const app = { variables: [variable('TOKEN', 'token')] };
const both = {
  variables: [variable('DB_USER', 'db', 'user')],
  files: [{ path: 'db.password', ref: { path: 'db', field: 'password' }, variable: 'DB_FILE' }],
};

async function statusOf(agent: TestAgent, service = 'app'): Promise<ServiceStatus> {
  const { json } = await agent.control('GET', '/v1/services?project=shop');
  return (json as readonly ServiceStatus[]).find((each) => each.service === service)!;
}

describe('the volume driver', () => {
  test('says what it is', async () => {
    const agent = await start();
    expect(await agent.driver('Plugin.Activate')).toMatchObject({
      Implements: ['VolumeDriver', 'secretprovider'],
    });
    expect(await agent.driver('Capabilities')).toMatchObject({ Capabilities: { Scope: 'local' } });
  });

  test('has a volume from its creation to its removal, and reads no store for that', async () => {
    const agent = await start();
    const Name = 'dso_shop.app';
    const Mountpoint = join(folder, 'volumes', Name);
    expect((await agent.driver('Get', { Name })).Err).toBe('there is no volume dso_shop.app');
    expect(await agent.driver('Create', { Name, Opts: {} })).toEqual({ Err: '' });
    expect(await agent.driver('Create', { Name })).toEqual({ Err: '' });
    expect(await agent.driver('Get', { Name })).toEqual({ Err: '', Volume: { Name, Mountpoint } });
    expect(await agent.driver('List')).toEqual({ Err: '', Volumes: [{ Name, Mountpoint }] });
    expect(await agent.driver('Path', { Name })).toEqual({ Err: '', Mountpoint });
    expect(await agent.driver('Remove', { Name })).toEqual({ Err: '' });
    expect(await agent.driver('List')).toEqual({ Err: '', Volumes: [] });
    expect(store.reads).toEqual([]);
  });

  test.each([
    '',
    'data',
    '../dso_a.b',
    'dso_a/../../b.c',
    'dso_shop.app\0',
    'dso_Shop.app',
    `dso_shop.${'a'.repeat(101)}`,
    'dso_shop.a/b',
    null,
    7,
    { a: 1 },
    'x'.repeat(50_000),
  ])('refuses the name %.30j in every call, and makes no file', async (Name) => {
    const agent = await start();
    for (const call of ['Create', 'Get', 'Path', 'Remove', 'Mount', 'Unmount'])
      expect((await agent.driver(call, { Name, ID: 'a' })).Err).toMatch(
        /^a volume of dso cannot have the name .*; docker dso up makes the volumes by itself$/,
      );
    expect(readdirSync(join(folder, 'volumes'))).toEqual(['.dso']);
  });

  test.each(['', '__proto__', '../x', 'a'.repeat(129), null])('refuses the ID %j', async (ID) => {
    const agent = await start();
    await agent.register('shop', { app });
    const { Err } = await agent.driver('Mount', { Name: 'dso_shop.app', ID });
    expect(Err).toContain('the mount has no valid ID');
  });

  test('refuses options, bodies that are no JSON, large bodies and other calls', async () => {
    const agent = await start();
    const socket = join(folder, 'plugins/dso.sock');
    const send = (path: string, body: string) => requestOver(socket, 'POST', path, body);
    expect((await agent.driver('Create', { Name: 'dso_a.b', Opts: { size: '1' } })).Err).toBe(
      'a volume of dso has no options; remove driver_opts; docker dso up makes the volumes by itself',
    );
    const notJson = await send('/VolumeDriver.Mount', '{');
    expect(notJson.json).toEqual({ Err: 'the request is not JSON' });
    const large = await send('/VolumeDriver.Mount', 'x'.repeat(4_194_305));
    expect(large.json).toEqual({ Err: 'the request has more than 4194304 bytes' });
    for (const path of ['/VolumeDriver.Format', '/constructor', '/v1/info'])
      expect(await send(path, '{}')).toMatchObject({ status: 404 });
    expect(await requestOver(socket, 'GET', '/VolumeDriver.List')).toMatchObject({ status: 404 });
  });

  test('lists volumes while a mount waits for the store', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    await agent.driver('Create', { Name: 'dso_shop.app' });
    let open = (): void => undefined;
    store.gate = new Promise((resolve) => (open = resolve));
    const mounting = agent.mount('dso_shop.app', 'a');
    expect((await agent.driver('List')).Volumes).toHaveLength(1);
    expect((await agent.driver('Get', { Name: 'dso_shop.app' })).Err).toBe('');
    open();
    expect(await mounting).toBe('');
  });
});

describe('a mount', () => {
  test('writes the variables, the shim and its links, readable for every user', async () => {
    const agent = await start();
    await agent.register('shop', {
      app: { variables: [variable('USER', 'db', 'user'), variable('TOKEN', 'token')] },
    });
    const response = await agent.driver('Mount', { Name: 'dso_shop.app', ID: 'a' });
    const directory = join(folder, 'volumes/dso_shop.app');
    expect(response).toEqual({ Err: '', Mountpoint: directory });
    expect(agent.variables('shop', 'app')).toEqual({ USER: 'app', TOKEN: canary });
    const modeOf = (name: string): number => statSync(join(directory, name)).mode & 0o777;
    expect(['', 'bin', 'env', 'bin/dso-shim'].map(modeOf)).toEqual([0o755, 0o755, 0o444, 0o555]);
    expect(readdirSync(join(directory, 'bin')).sort()).toEqual(
      'ash bash dash dso-shim env printenv sh zsh'.split(' '),
    );
    expect(readFileSync(join(directory, 'bin/sh'), 'utf8')).toBe('the shim');
  });

  test('has no links with exec: off, also if it had them before', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    await agent.mount('dso_shop.app', 'a');
    await agent.register('shop', { app: { ...app, exec: 'off' } });
    await agent.mount('dso_shop.app', 'b');
    expect(readdirSync(join(folder, 'volumes/dso_shop.app/bin'))).toEqual(['dso-shim']);
  });

  test('fills both volumes by one delivery, which one start uses', async () => {
    const agent = await start();
    store.values.set('db', () =>
      JSON.stringify({ user: `u${store.reads.length}`, password: canary }),
    );
    await agent.register('shop', { app: both });
    expect(await agent.mount('dsofiles_shop.app', 'f1')).toBe('');
    expect(await agent.mount('dso_shop.app', 'v1')).toBe('');
    expect(agent.variables('shop', 'app')).toEqual({
      DB_USER: 'u1',
      DB_FILE: '/run/secrets/dso/db.password',
    });
    const file = join(folder, 'volumes/dsofiles_shop.app/db.password');
    expect(readFileSync(file, 'utf8')).toBe(canary);
    expect(statSync(file).mode & 0o777).toBe(0o444);
    // The user and the password come from one read, and no second credential was made.
    expect(store.reads).toEqual(['db']);
  });

  test('of the second volume of a start uses what the first one has read', async () => {
    const agent = await start();
    await agent.register('shop', { app: both });
    await agent.mount('dso_shop.app', 'v1');
    store.values.set('db', JSON.stringify({ user: 'other', password: 'other' }));
    agent.clockOffset = 11_000;
    await agent.mount('dsofiles_shop.app', 'f1');
    expect(agent.variables('shop', 'app')).toMatchObject({ DB_USER: 'app' });
    expect(store.reads).toEqual(['db']);
    await agent.mount('dsofiles_shop.app', 'f2');
    expect(agent.variables('shop', 'app')).toMatchObject({ DB_USER: 'other' });
    expect(store.reads).toEqual(['db', 'db']);
  });

  test('applies modes and owners of files', async () => {
    const agent = await start();
    const owner = process.getuid?.() === 0 ? { uid: 1234, gid: 4321 } : {};
    const files = [{ path: 'a/b', ref: { path: 'token' }, mode: 0o440, ...owner }];
    await agent.register('shop', { app: { files } });
    expect(await agent.mount('dso_shop.app', 'a')).toBe('');
    const { mode, uid, gid } = statSync(join(folder, 'volumes/dsofiles_shop.app/a/b'));
    expect(mode & 0o777).toBe(0o440);
    if (owner.uid !== undefined) expect({ uid, gid }).toEqual(owner);
  });

  test('says what to do for a volume that no project has', async () => {
    const agent = await start();
    expect(await agent.mount('dso_shop.app', 'a')).toBe(
      "the agent does not know which secrets belong to the volume dso_shop.app; run docker dso up in the project's directory",
    );
  });

  test('is all or nothing: one absent secret leaves no file, and the error is one line', async () => {
    const agent = await start();
    const variables = [variable('TOKEN', 'token'), variable('NO', 'nothing')];
    await agent.register('shop', { app: { variables } });
    expect(await agent.mount('dso_shop.app', 'a')).toBe('there is no secret nothing');
    expect(readdirSync(join(folder, 'volumes'))).toEqual(['.dso']);
    expect(await statusOf(agent)).toMatchObject({
      ...{ state: 'FAILED', mounts: 0 },
      failure: { code: 'OBJECT_NOT_FOUND', message: 'there is no secret nothing' },
    });
  });

  test.each<[string, Uint8Array | string, string]>([
    ['a NUL byte', 'a\0b', 'it has a NUL byte; use dsofile:// for it'],
    [
      'bytes that are not UTF-8',
      Buffer.from([0xff, 0xfe]),
      'it is not UTF-8; use dsofile:// for it',
    ],
    [
      '131,072 bytes',
      'x'.repeat(131_072 - 'TOKEN='.length),
      'starts with at most 131071; use dsofile:// for it',
    ],
  ])('refuses a variable with %s, and takes it as a file', async (_, value, message) => {
    const agent = await start();
    store.values.set('token', value);
    await agent.register('shop', {
      app,
      other: { files: [{ path: 't', ref: { path: 'token' } }] },
    });
    expect(await agent.mount('dso_shop.app', 'a')).toContain(message);
    expect(await agent.mount('dsofiles_shop.other', 'b')).toBe('');
    expect(readFileSync(join(folder, 'volumes/dsofiles_shop.other/t'))).toEqual(Buffer.from(value));
  });

  test('takes the only value of an object, and the whole text for a mapping', async () => {
    const agent = await start();
    store.values.set('sole', '{"k":"only"}');
    const mapping = {
      name: 'M',
      ref: { path: 'token', field: 'password', orWhole: true as const },
    };
    await agent.register('shop', { app: { variables: [variable('S', 'sole'), mapping] } });
    expect(await agent.mount('dso_shop.app', 'a')).toBe('');
    expect(agent.variables('shop', 'app')).toEqual({ S: 'only', M: canary });
    const warning = agent.lines.find((line) => line.includes('the whole text is used'));
    expect(warning).toContain('"targets":["env/M"]');
    expect((await statusOf(agent)).secrets).toHaveLength(2);
  });

  test('ends when the engine leaves, and is then not counted', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    let open = (): void => undefined;
    store.gate = new Promise((resolve) => (open = resolve));
    const engine = new AbortController();
    const mounting = agent.driver('Mount', { Name: 'dso_shop.app', ID: 'a' }, engine.signal);
    while (store.reads.length === 0) await sleep(1);
    engine.abort();
    await expect(mounting).rejects.toThrow('abort');
    open();
    await eventually(() => expect(readdirSync(join(folder, 'volumes'))).toEqual(['.dso']));
    expect(await statusOf(agent)).toMatchObject({ state: 'INACTIVE', mounts: 0 });
  });

  test('works for 50 containers that start together, with one read of each secret', async () => {
    const agent = await start();
    const services = Object.fromEntries(
      Array.from({ length: 10 }, (_, index) => [`s${index}`, both] as const),
    );
    await agent.register('shop', services);
    const starts = Array.from({ length: 50 }, async (_, index) => {
      const service = `s${index % 10}`;
      const first = await agent.mount(`dso_shop.${service}`, `v${index}`);
      return [first, await agent.mount(`dsofiles_shop.${service}`, `f${index}`)];
    });
    for (const errors of await Promise.all(starts)) expect(errors).toEqual(['', '']);
    for (const service of Object.keys(services)) {
      expect(await statusOf(agent, service)).toMatchObject({ state: 'ACTIVE', mounts: 5 });
      expect(agent.variables('shop', service)).toMatchObject({ DB_USER: 'app' });
    }
    // Values of Vault are read for each service, until a response shows that they can be shared.
    expect(store.reads).toHaveLength(10);
  });
});

describe('the containers of a service', () => {
  test('share its volumes, which are cleared after the last one', async () => {
    const agent = await start();
    await agent.register('shop', { app: both });
    for (const id of ['1', '2']) {
      await agent.mount('dso_shop.app', `v${id}`);
      await agent.mount('dsofiles_shop.app', `f${id}`);
    }
    expect(await statusOf(agent)).toMatchObject({ state: 'ACTIVE', mounts: 2 });
    expect(await agent.unmount('dso_shop.app', 'v1')).toBe('');
    expect(await agent.unmount('dsofiles_shop.app', 'f1')).toBe('');
    expect(await agent.unmount('dsofiles_shop.app', 'f1')).toBe('');
    expect(await agent.unmount('dso_shop.app', 'never-seen')).toBe('');
    expect(agent.variables('shop', 'app')).toMatchObject({ DB_USER: 'app' });
    await agent.unmount('dso_shop.app', 'v2');
    expect(existsSync(join(folder, 'volumes/dsofiles_shop.app/db.password'))).toBe(true);
    await agent.unmount('dsofiles_shop.app', 'f2');
    expect(readdirSync(join(folder, 'volumes'))).toEqual(['.dso']);
    expect(await statusOf(agent)).toMatchObject({ state: 'INACTIVE', mounts: 0 });
  });

  test('get a changed value at their next start', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    await agent.mount('dso_shop.app', 'a');
    store.values.set('token', 'changed');
    agent.clockOffset = 11_000;
    await agent.mount('dso_shop.app', 'b');
    expect(agent.variables('shop', 'app')).toEqual({ TOKEN: 'changed' });
    expect(await statusOf(agent)).toMatchObject({ state: 'STALE', mounts: 2 });
    await agent.unmount('dso_shop.app', 'a');
    expect(await statusOf(agent)).toMatchObject({ state: 'ACTIVE', mounts: 1 });
  });

  test('that crash again and again make one read and one credential', async () => {
    const agent = await start();
    store.values.set('creds', () => canary);
    await agent.register('shop', { app: { variables: [variable('C', 'creds')] } });
    for (let crash = 0; crash < 20; crash++) {
      expect(await agent.mount('dso_shop.app', `${crash}`)).toBe('');
      await agent.unmount('dso_shop.app', `${crash}`);
      agent.tick();
    }
    expect(store.reads).toEqual(['creds']);
    expect(store.released).toEqual([]);
  });

  test('that cannot start ask the store once in two seconds', async () => {
    const agent = await start();
    await agent.register('shop', { app: { variables: [variable('A', 'nothing')] } });
    const errors = [];
    for (let attempt = 0; attempt < 10; attempt++)
      errors.push(await agent.mount('dso_shop.app', `${attempt}`));
    expect(new Set(errors)).toEqual(new Set(['there is no secret nothing']));
    expect(store.reads).toHaveLength(1);
    agent.clockOffset = 3_000;
    store.values.set('nothing', 'something');
    expect(await agent.mount('dso_shop.app', 'x')).toBe('');
  });

  test('have a new dynamic credential in their files after a restart of the agent, and are STALE', async () => {
    const first = await start();
    store.values.set('creds', () => `user-${store.reads.length}`);
    await first.register('shop', { app: { variables: [variable('C', 'creds')] } });
    await first.mount('dso_shop.app', 'a');
    expect(first.variables('shop', 'app')).toEqual({ C: 'user-1' });
    await kill(first);
    // The store cannot hand over its lease.
    const agent = await start();
    await eventually(async () => expect(await statusOf(agent)).toMatchObject({ state: 'STALE' }));
    expect(agent.variables('shop', 'app')).toEqual({ C: 'user-2' });
    await agent.mount('dso_shop.app', 'b');
    await agent.unmount('dso_shop.app', 'a');
    expect(await statusOf(agent)).toMatchObject({ state: 'ACTIVE', mounts: 1 });
    expect(store.reads).toHaveLength(2);
    await agent.unmount('dso_shop.app', 'b');
    agent.clockOffset += 11_000;
    agent.tick();
    await eventually(() => expect(store.released).toEqual(['lease-2']));
  });

  describe('of a store whose leases can be handed over', () => {
    const leased = { variables: [variable('C', 'creds')] };
    const leaseFile = (): string => join(folder, 'volumes/.dso/leases.json');
    beforeEach(() => {
      store.keepsLeases = true;
      store.values.set('creds', () => `${canary}-${store.reads.length}`);
    });

    async function startWithLease(): Promise<TestAgent> {
      const agent = await start();
      await agent.register('shop', { app: leased });
      await agent.mount('dso_shop.app', 'a');
      await eventually(() => expect(readFileSync(leaseFile(), 'utf8')).toContain('lease-1'));
      return agent;
    }

    test('keep their credential over a restart of the agent, and give it back at their end', async () => {
      await kill(await startWithLease());
      const agent = await start();
      expect(store.takenOver).toEqual(['lease-1']);
      await agent.mount('dso_shop.app', 'b');
      await agent.control('POST', '/v1/refresh', { path: 'nothing' });
      expect(agent.variables('shop', 'app')).toEqual({ C: `${canary}-1` });
      expect(await statusOf(agent)).toMatchObject({ state: 'ACTIVE', mounts: 2 });
      expect(store.reads).toEqual(['creds']);
      for (const id of ['a', 'b']) await agent.unmount('dso_shop.app', id);
      agent.clockOffset += 11_000;
      agent.tick();
      await eventually(() => expect(store.released).toEqual(['lease-1']));
      await eventually(() => expect(readFileSync(leaseFile(), 'utf8')).toBe('[]'));
    });

    test('that ended while the agent was away give it back, too', async () => {
      await kill(await startWithLease());
      rmSync(join(folder, 'volumes/.dso/mounts'), { recursive: true });
      const agent = await start();
      agent.tick();
      await eventually(() => expect(store.released).toEqual(['lease-1']));
    });

    test('have it in one file, which only root reads, and nowhere on disk', async () => {
      await kill(await startWithLease());
      expect(statSync(leaseFile()).mode & 0o777).toBe(0o600);
      expect(() => execFileSync('grep', ['-r', canary, join(folder, 'state')])).toThrow();
    });

    test('start with another one if the file is broken, or the project has changed', async () => {
      await kill(await startWithLease());
      writeFileSync(leaseFile(), '{');
      const agent = await start();
      expect(agent.lines.join('')).toContain('the leases of the last process cannot be read');
      await eventually(async () => expect(await statusOf(agent)).toMatchObject({ state: 'STALE' }));
      expect(store.takenOver).toEqual([]);
    });
  });

  test('return their lease when the last one is gone, and not before', async () => {
    const agent = await start();
    store.values.set('creds', () => canary);
    await agent.register('shop', { app: { variables: [variable('C', 'creds')] } });
    await agent.mount('dso_shop.app', 'a');
    await agent.mount('dso_shop.app', 'b');
    await agent.unmount('dso_shop.app', 'a');
    agent.clockOffset = 20_000;
    agent.tick();
    expect(store.released).toEqual([]);
    await agent.unmount('dso_shop.app', 'b');
    agent.tick();
    expect(store.released).toEqual([]);
    agent.clockOffset = 40_000;
    agent.tick();
    expect(store.released).toEqual(['lease-1']);
  });
});

describe('after a restart of the agent', () => {
  test('a mount by name alone works, and unmounts count on', async () => {
    const first = await start();
    await first.register('shop', { app: both });
    await first.driver('Create', { Name: 'dso_shop.app' });
    await first.mount('dso_shop.app', 'v1');
    await first.mount('dsofiles_shop.app', 'f1');
    await kill(first);
    expect(first.variables('shop', 'app')).toMatchObject({ DB_USER: 'app' });

    const second = await start();
    expect((await second.driver('Get', { Name: 'dso_shop.app' })).Err).toBe('');
    expect(await statusOf(second)).toMatchObject({ state: 'ACTIVE', mounts: 1 });
    await second.mount('dso_shop.app', 'v2');
    await second.mount('dsofiles_shop.app', 'f2');
    await second.unmount('dso_shop.app', 'v1');
    await second.unmount('dsofiles_shop.app', 'f1');
    expect(second.variables('shop', 'app')).toMatchObject({ DB_USER: 'app' });
    await second.unmount('dso_shop.app', 'v2');
    await second.unmount('dsofiles_shop.app', 'f2');
    expect(readdirSync(join(folder, 'volumes'))).toEqual(['.dso']);
  });

  test('files of a volume that no container has are removed', async () => {
    mkdirSync(join(folder, 'volumes/dso_shop.app'), { recursive: true });
    writeFileSync(join(folder, 'volumes/dso_shop.app/env'), `A=${canary}\0`);
    await start();
    expect(readdirSync(join(folder, 'volumes'))).toEqual(['.dso']);
  });

  test('a broken state is set aside and reported, and the other projects work', async () => {
    const first = await start();
    await first.register('shop', { app });
    await first.register('blog', { app });
    await kill(first);
    writeFileSync(join(folder, 'state/projects/shop.json'), '{"services": [{"project"');
    writeFileSync(join(folder, 'state/projects/old.json.123.tmp'), 'x');

    const second = await start();
    expect(second.lines.join('')).toContain('cannot be used and is set aside');
    expect(readdirSync(join(folder, 'state/projects')).sort()).toEqual([
      'blog.json',
      'shop.json.broken',
    ]);
    expect(await second.mount('dso_shop.app', 'a')).toContain('run docker dso up');
    expect(await second.mount('dso_blog.app', 'a')).toBe('');
  });

  test('a service whose state is lost keeps its files until its containers end', async () => {
    const first = await start();
    await first.register('shop', { app });
    await first.mount('dso_shop.app', 'a');
    await kill(first);
    writeFileSync(join(folder, 'state/projects/shop.json'), '');
    const second = await start();
    expect(second.variables('shop', 'app')).toEqual({ TOKEN: canary });
    expect(await second.mount('dso_shop.app', 'b')).toContain('run docker dso up');
    expect(second.variables('shop', 'app')).toEqual({ TOKEN: canary });
    await second.unmount('dso_shop.app', 'a');
    expect(readdirSync(join(folder, 'volumes'))).toEqual(['.dso']);
  });

  test('no file of the state has a value', async () => {
    const agent = await start();
    await agent.register('shop', { app, other: both });
    await agent.mount('dso_shop.app', 'a');
    await agent.mount('dso_shop.other', 'b');
    await agent.control('POST', '/v1/refresh', { path: 'token' });
    const grep = (directory: string): string => {
      try {
        return execFileSync('grep', ['-rl', canary, join(folder, directory)], { encoding: 'utf8' });
      } catch {
        return '';
      }
    };
    expect(grep('state')).toBe('');
    expect(grep('volumes/.dso')).toBe('');
    expect(grep('volumes')).not.toBe('');
    expect(agent.lines.join('')).not.toContain(canary);
  });
});

describe('the sockets', () => {
  test('of a dead agent are taken over', async () => {
    mkdirSync(join(folder, 'plugins'));
    for (const name of ['agent.sock', 'plugins/dso.sock']) {
      const script = `require('net').createServer().listen(${JSON.stringify(join(folder, name))},()=>process.kill(process.pid,9))`;
      expect(() => execFileSync(process.execPath, ['-e', script], { stdio: 'ignore' })).toThrow();
      expect(statSync(join(folder, name)).isSocket()).toBe(true);
    }
    const agent = await start();
    expect((await agent.driver('List')).Err).toBe('');
    expect(statSync(join(folder, 'agent.sock')).mode & 0o777).toBe(0o660);
    expect(statSync(join(folder, 'plugins/dso.sock')).mode & 0o777).toBe(0o600);
    expect(agent.agent.problems()).toEqual([]);
  });

  test('of a living agent are not, and its files stay', async () => {
    const first = await start();
    await first.register('shop', { app });
    await first.mount('dso_shop.app', 'a');
    await expect(start()).rejects.toMatchObject({
      code: 'NOT_CONFIGURED',
      message: `${join(folder, 'agent.sock')} is in use: another agent answers there, or it is not a socket`,
    });
    expect(first.variables('shop', 'app')).toEqual({ TOKEN: canary });
    expect((await first.driver('List')).Err).toBe('');
  });

  test('take a request while the agent starts', async () => {
    const agent = new TestAgent({ folder, store });
    running.push(agent);
    const starting = agent.agent.start();
    while (!existsSync(join(folder, 'agent.sock'))) await sleep(1);
    expect((await agent.register('shop', { app })).status).toBe(200);
    await starting;
  });

  test('of another program at the engine stop the start', async () => {
    mkdirSync(join(folder, 'plugins'));
    const other = createServer().listen(join(folder, 'plugins/dso.sock'));
    try {
      await expect(start()).rejects.toThrow('dso.sock is in use');
      expect(existsSync(join(folder, 'agent.sock'))).toBe(false);
    } finally {
      other.close();
    }
  });

  test('go at the stop, which finishes mounts in flight and leaves the files', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    let open = (): void => undefined;
    store.gate = new Promise((resolve) => (open = resolve));
    const mounting = agent.mount('dso_shop.app', 'a');
    while (store.reads.length === 0) await sleep(1);
    const stopping = agent.stop(10_000);
    expect(existsSync(join(folder, 'agent.sock'))).toBe(false);
    expect(existsSync(join(folder, 'plugins/dso.sock'))).toBe(false);
    open();
    expect(await mounting).toBe('');
    await stopping;
    expect(agent.variables('shop', 'app')).toEqual({ TOKEN: canary });
  });

  test('give a mount that takes longer than the grace its error', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    store.gate = new Promise(() => undefined);
    const mounting = agent.mount('dso_shop.app', 'a');
    while (store.reads.length === 0) await sleep(1);
    await agent.stop(20);
    expect(await mounting).toContain('the agent of docker dso stops');
  });
});

describe('the control API', () => {
  test('says what the agent has', async () => {
    const agent = await start();
    expect(await agent.control('GET', '/v1/info')).toEqual({
      status: 200,
      json: {
        ...{
          version: '1.2.3',
          configFile: '/etc/dso/dso.yaml',
          exec: 'on',
          runtime: 'off',
          defaultStore: 'vault',
        },
        stores: [{ name: 'vault', type: 'vault', address: 'https://vault:8200' }],
        ...{ pollingIntervalMs: 120_000, hasGrants: false },
      },
    });
  });

  test('has the log of what happened, without values', async () => {
    const agent = await start();
    for (const project of ['shop', 'blog']) {
      await agent.register(project, { app });
      await agent.driver('Create', { Name: `dso_${project}.app` });
      await agent.mount(`dso_${project}.app`, 'a');
    }
    expect(await agent.control('GET', '/v1/log?project=shop&service=app&tail=1')).toEqual({
      status: 200,
      json: expect.objectContaining({
        ...{ project: 'shop', service: 'app', msg: 'delivered' },
        secrets: [expect.objectContaining({ target: 'TOKEN', store: 'vault' })],
      }),
    });
    expect(await agent.control('GET', '/v1/log?tail=-1')).toMatchObject({
      status: 400,
      json: { code: 'INVALID_REQUEST', message: 'tail of the log must be a whole number' },
    });
  });

  test('ends the log that is followed when the agent stops', async () => {
    const agent = await start();
    const followed = agent.control('GET', '/v1/log?follow=true&tail=0');
    const ended = expect(followed).rejects.toThrow('aborted');
    await agent.control('GET', '/v1/info');
    await kill(agent);
    await ended;
  });

  test('shows name, source, version and time of each secret', async () => {
    const agent = await start();
    await agent.register('shop', { app: both });
    const secrets = [
      { name: 'DB_USER', kind: 'variable', source: 'dso://db#user', store: 'vault' },
      {
        ...{ name: '/run/secrets/dso/db.password', kind: 'file', source: 'dsofile://db#password' },
        store: 'vault',
      },
    ];
    expect(await statusOf(agent)).toEqual({
      ...{ project: 'shop', service: 'app', state: 'INACTIVE', mounts: 0, secrets },
    });
    await agent.mount('dso_shop.app', 'a');
    expect((await statusOf(agent)).secrets).toEqual(
      secrets.map((secret) => ({
        ...secret,
        version: expect.stringMatching(/^v\d+$/),
        deliveredAt: expect.any(Number),
      })),
    );
  });

  test('refreshes a secret: new files at once, and the service is STALE', async () => {
    const agent = await start();
    await agent.register('shop', { app, other: both });
    await agent.mount('dso_shop.app', 'a');
    await agent.mount('dso_shop.other', 'b');
    const before = await agent.control('POST', '/v1/refresh', { path: 'token' });
    expect(before.json).toMatchObject({ services: [{ name: 'shop/app', changed: false }] });
    store.values.set('token', 'changed');
    const after = await agent.control('POST', '/v1/refresh', { store: 'vault', path: 'token' });
    expect(after).toEqual({
      status: 200,
      json: {
        ...{ store: 'vault', version: expect.stringMatching(/^v\d+$/) },
        services: [{ name: 'shop/app', changed: true, rotates: false }],
      },
    });
    expect(agent.variables('shop', 'app')).toEqual({ TOKEN: 'changed' });
    expect(await statusOf(agent)).toMatchObject({ state: 'STALE' });
    expect(await statusOf(agent, 'other')).toMatchObject({ state: 'ACTIVE' });
  });

  test('does not hide that the store is away at a refresh, and the files stay', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    await agent.mount('dso_shop.app', 'a');
    store.failure = new SecretError('STORE_UNAVAILABLE', 'vault is away');
    expect(await agent.control('POST', '/v1/refresh', { path: 'token' })).toEqual({
      status: 500,
      json: { code: 'STORE_UNAVAILABLE', message: 'vault is away' },
    });
    expect(agent.variables('shop', 'app')).toEqual({ TOKEN: canary });
  });

  test('starts a container with the last good value after a refresh that has failed', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    await agent.mount('dso_shop.app', 'a');
    store.failure = new SecretError('STORE_UNAVAILABLE', 'vault is away');
    await agent.control('POST', '/v1/refresh', { path: 'token' });
    expect(await agent.mount('dso_shop.app', 'b')).toBe('');
    expect(agent.variables('shop', 'app')).toEqual({ TOKEN: canary });
  });

  test('lists and checks stores', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    expect((await agent.control('GET', '/v1/stores/vault/secrets')).json).toEqual([
      { path: 'db', usedBy: [] },
      { path: 'token', usedBy: ['shop/app'] },
    ]);
    expect(await agent.control('POST', '/v1/stores/vault/check')).toEqual({
      status: 200,
      json: { steps: [{ name: 'log in and read' }] },
    });
    expect(await agent.control('POST', '/v1/stores/aws/check')).toMatchObject({
      status: 409,
      json: { message: '/etc/dso/dso.yaml has no store aws; it has vault' },
    });
  });

  test.each<[string, object | undefined, string]>([
    ['no body', undefined, 'the registration is not valid'],
    ['an unknown key', { services: [], stores: {}, x: 1 }, 'Unrecognized key'],
    [
      'another project',
      { services: [{ ...injected(), project: 'blog' }], stores: {} },
      'another project',
    ],
    ['a service twice', { services: [injected(), injected()], stores: {} }, 'has a service twice'],
    [
      'a hostile service',
      { services: [{ ...injected(), service: '../x' }], stores: {} },
      'is not the name of a service',
    ],
    [
      'a hostile path',
      { services: [injected('../../etc/shadow')], stores: {} },
      'has a "." or ".." element',
    ],
    ['a NUL', { services: [injected('a\0b')], stores: {} }, 'not printable'],
    ['a long path', { services: [injected('a'.repeat(1_000_000))], stores: {} }, 'at most 2048'],
    [
      'a hostile file',
      { services: [{ ...injected(), files: [{ path: '../x', ref: { path: 'a' } }] }], stores: {} },
      'has a ".." element',
    ],
    [
      'a hostile store',
      { services: [], stores: { '__proto__x/': { type: 'vault' } } },
      'the registration is not valid',
    ],
    [
      'a hostile provider',
      {
        services: [
          { ...injected(), variables: [{ name: 'A', ref: { path: 'a', provider: '../a' } }] },
        ],
        stores: {},
      },
      'is not the name of a store',
    ],
  ])('refuses a registration with %s', async (_, body, message) => {
    const agent = await start();
    const { status, json } = await agent.control('PUT', '/v1/projects/shop', body);
    expect(status).toBe(400);
    expect(json).toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining(message),
    });
    expect((json as { message: string }).message.length).toBeLessThan(500);
  });

  test.each(['..', '%2e%2e%2fx', 'A', 'a'.repeat(101), '%'])(
    'refuses the project %s',
    async (name) => {
      const agent = await start();
      const body = { services: [], stores: {} };
      expect((await agent.control('PUT', `/v1/projects/${name}`, body)).status).toBe(400);
    },
  );
});

function injected(path = 'token') {
  return {
    ...{ project: 'shop', service: 'app', files: [], exec: 'on' },
    variables: [{ name: 'TOKEN', ref: { path } }],
  };
}

describe('a project', () => {
  test('that is registered again keeps the services that the engine still has', async () => {
    const agent = await start();
    await agent.register('shop', { app, other: app, third: app });
    await agent.driver('Create', { Name: 'dso_shop.other' });
    await agent.mount('dso_shop.third', 'a');
    // As with a profile that is not active, and as in another directory with the same name.
    await agent.register('shop', { web: app });
    expect(await agent.mount('dso_shop.app', 'b')).toContain('run docker dso up');
    expect(await agent.mount('dso_shop.other', 'c')).toBe('');
    expect(await agent.mount('dso_shop.third', 'd')).toBe('');
    expect(await agent.mount('dso_shop.web', 'e')).toBe('');
    await agent.unmount('dso_shop.other', 'c');
    await agent.driver('Remove', { Name: 'dso_shop.other' });
    expect(await agent.mount('dso_shop.other', 'f')).toContain('run docker dso up');
  });

  test('that is registered again while a start reads gives it what was registered last', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    let open = (): void => undefined;
    store.gate = new Promise((resolve) => (open = resolve));
    const mounting = agent.mount('dso_shop.app', 'a');
    while (store.reads.length === 0) await sleep(1);
    await agent.register('shop', { app: { variables: [variable('USER', 'db', 'user')] } });
    open();
    expect(await mounting).toBe('');
    expect(agent.variables('shop', 'app')).toEqual({ USER: 'app' });
    await agent.control('POST', '/v1/refresh', { path: 'db' });
    expect(await statusOf(agent)).toMatchObject({ state: 'ACTIVE', mounts: 1 });
  });

  test('with another reference gives running containers new files, and they are STALE', async () => {
    const agent = await start();
    store.values.set('token2', canary);
    await agent.register('shop', { app });
    await agent.mount('dso_shop.app', 'a');
    await agent.register('shop', { app });
    expect(await statusOf(agent)).toMatchObject({ state: 'ACTIVE' });
    // The value and its version are the same, and it is another secret.
    await agent.register('shop', { app: { variables: [variable('TOKEN', 'token2')] } });
    await eventually(async () => expect(await statusOf(agent)).toMatchObject({ state: 'STALE' }));
    await agent.mount('dso_shop.app', 'b');
    await agent.unmount('dso_shop.app', 'a');
    expect(await statusOf(agent)).toMatchObject({ state: 'ACTIVE' });
  });

  describe('of another directory with the same name', () => {
    const other = { variables: [variable('USER', 'db', 'user')] };
    async function put(agent: TestAgent, directory: string, service: object, more: object = {}) {
      const injection = { ...{ project: 'shop', service: 'app' }, files: [], exec: 'on' };
      const services = [{ ...injection, ...service }];
      const registration = { services, stores: {}, directory, ...more };
      return agent.control('PUT', '/v1/projects/shop', registration);
    }

    test('is refused while it would give running containers other secrets', async () => {
      const first = await start();
      expect((await put(first, '/srv/one', app)).status).toBe(200);
      await first.mount('dso_shop.app', 'a');
      await kill(first);
      const agent = await start();
      expect(await put(agent, '/srv/two', other)).toEqual({
        status: 400,
        json: {
          code: 'INVALID_REQUEST',
          message:
            'the project shop runs from /srv/one: from /srv/two, its service app would get other secrets',
          hint: 'name this application with -p NAME or with name: in its Compose file; if it is the same application, replace it with -p shop',
        },
      });
      expect(agent.variables('shop', 'app')).toEqual({ TOKEN: canary });
      expect((await statusOf(agent)).secrets).toMatchObject([{ name: 'TOKEN' }]);
      // The directory itself can change what it asks for.
      expect((await put(agent, '/srv/one', other)).status).toBe(200);
    });

    test('replaces it if the user names the project, if it asks for the same, or if nothing runs', async () => {
      const agent = await start();
      await put(agent, '/srv/one', app);
      expect((await put(agent, '/srv/two', other)).status).toBe(200);
      expect((await put(agent, '/srv/one', app)).status).toBe(200);
      await agent.mount('dso_shop.app', 'a');
      expect((await put(agent, '/srv/two', app)).status).toBe(200);
      expect((await put(agent, '/srv/three', other, { isNamed: true })).status).toBe(200);
    });

    test('keeps a service that only the first one has', async () => {
      const agent = await start();
      await put(agent, '/srv/one', app);
      await agent.mount('dso_shop.app', 'a');
      expect((await put(agent, '/srv/two', { ...other, service: 'web' })).status).toBe(200);
      expect(await agent.mount('dso_shop.app', 'b')).toBe('');
      expect(agent.variables('shop', 'app')).toEqual({ TOKEN: canary });
    });
  });

  test('that is deleted is forgotten when no container has it', async () => {
    const agent = await start();
    await agent.register('shop', { app, other: app });
    await agent.mount('dso_shop.app', 'a');
    expect((await agent.control('DELETE', '/v1/projects/shop')).status).toBe(200);
    expect(agent.variables('shop', 'app')).toEqual({ TOKEN: canary });
    expect(await agent.mount('dso_shop.other', 'b')).toContain('run docker dso up');
    await agent.unmount('dso_shop.app', 'a');
    expect((await agent.control('GET', '/v1/services')).json).toEqual([]);
    expect(readdirSync(join(folder, 'state/projects'))).toEqual([]);
    expect(readdirSync(join(folder, 'volumes'))).toEqual(['.dso']);
  });

  test('reads what the grants of the host allow, and nothing else', async () => {
    const config = [
      'providers: {vault: {type: vault, address: "https://vault:8200"}}',
      'agent: {grants: [{projects: ["sh*"], services: [app], stores: [vault], paths: ["tok*"]}]}',
    ].join('\n');
    const agent = await start({ config });
    await agent.register('shop', { app, other: app, third: both });
    await agent.register('blog', { app });
    expect(await agent.mount('dso_shop.app', 'a')).toBe('');
    for (const volume of ['dso_shop.other', 'dso_blog.app'])
      expect(await agent.mount(volume, 'b')).toMatch(
        /^service \w+\/\w+ may not read token of store vault: no grant of this host allows it; add a grant under agent.grants of \/etc\/dso\/dso.yaml, and restart the agent$/,
      );
    expect(await agent.mount('dso_shop.third', 'c')).toContain('may not read db');
    expect(store.reads).toEqual(['token']);
  });

  test('is refused at once with a store that the host does not allow', async () => {
    const agent = await start();
    const variables = [{ name: 'A', ref: { path: 'a', provider: 'mine' } }];
    const stores = { mine: { type: 'vault' as const, addresses: ['https://evil:8200'] } };
    expect(await agent.register('shop', { app: { variables } }, stores)).toMatchObject({
      status: 403,
      json: {
        code: 'NOT_GRANTED',
        message: 'the project gives the store mine other addresses than this host has',
      },
    });
  });
});

describe('a store that does not respond', () => {
  const config = `
providers:
  vault: {type: vault, address: "https://vault:8200", fallback: local}
  local: {type: local}
defaults: {provider: vault}
agent:
  grants:
    - {projects: [shop], paths: ["**"]}
    - {projects: [other], stores: [vault], paths: ["**"]}
`;
  const outage = new SecretError('STORE_UNAVAILABLE', 'vault is away');
  let localStore: MemoryStore;
  const pair = {
    variables: [variable('USER', 'db'), variable('PASSWORD', 'db')].map((each, index) => ({
      ...each,
      ref: { path: 'db', field: ['user', 'password'][index]! },
    })),
  };
  beforeEach(() => {
    localStore = new MemoryStore();
    store.values.set('db', '{"user":"a","password":"b"}');
    localStore.values.set('db', '{"user":"x","password":"y"}');
  });

  test('leaves a start to its fallback: all secrets of the store, and the status shows it', async () => {
    const agent = await start({ config, localStore });
    store.failure = outage;
    await agent.register('shop', { app: pair });
    expect(await agent.mount('dso_shop.app', 'a')).toBe('');
    expect(agent.variables('shop', 'app')).toEqual({ USER: 'x', PASSWORD: 'y' });
    const version = expect.stringMatching(/^v\d+ \(fallback local\)$/);
    expect((await statusOf(agent)).secrets).toMatchObject([{ version }, { version }]);
    expect(agent.lines.join('')).toContain('"store":"vault","fallback":"local"');

    store.failure = undefined;
    await agent.control('POST', '/v1/refresh', { store: 'vault', path: 'db' });
    expect(agent.variables('shop', 'app')).toEqual({ USER: 'a', PASSWORD: 'b' });
    expect(await statusOf(agent)).toMatchObject({ state: 'STALE' });
  });

  test('gives a start the last good value first', async () => {
    const agent = await start({ config, localStore });
    await agent.register('shop', { app: pair });
    expect(await agent.mount('dso_shop.app', 'a')).toBe('');
    store.failure = outage;
    agent.clockOffset = 60_000;
    expect(await agent.mount('dso_shop.app', 'b')).toBe('');
    expect(agent.variables('shop', 'app')).toEqual({ USER: 'a', PASSWORD: 'b' });
    agent.clockOffset = 700_000;
    expect(await agent.mount('dso_shop.app', 'c')).toBe('');
    expect(agent.variables('shop', 'app')).toEqual({ USER: 'x', PASSWORD: 'y' });
  });

  test('brings nothing of its fallback to containers that run', async () => {
    const agent = await start({ config, localStore });
    await agent.register('shop', { app: pair });
    expect(await agent.mount('dso_shop.app', 'a')).toBe('');
    store.failure = outage;
    agent.clockOffset = 700_000;
    const refreshed = await agent.control('POST', '/v1/refresh', { store: 'vault', path: 'db' });
    expect(refreshed.json).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(agent.variables('shop', 'app')).toEqual({ USER: 'a', PASSWORD: 'b' });
  });

  test.each<[string, string, () => void, string]>([
    ['that refuses', 'shop', () => store.values.delete('db'), 'there is no secret db'],
    ['whose fallback may not serve the project', 'other', () => undefined, 'local'],
    [
      'whose fallback lacks the secret',
      'shop',
      () => localStore.values.clear(),
      'vault is away; and the fallback local fails with OBJECT_NOT_FOUND',
    ],
  ])('%s fails the start with the cause', async (what, project, change, message) => {
    const agent = await start({ config, localStore });
    if (what !== 'that refuses') store.failure = outage;
    change();
    await agent.register(project, { app: pair });
    expect(await agent.mount(`dso_${project}.app`, 'a')).toContain(message);
  });
});
