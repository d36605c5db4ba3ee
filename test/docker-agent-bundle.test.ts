import { afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { requestOver } from './docker/agent.ts';
import { builtBundle } from './driver/bundle.ts';
import { describeIfAvailable } from './if-available.ts';

const canary = 'canary-51d2-in-no-file';
const isRoot = process.getuid?.() === 0;
const missing = process.platform === 'linux' ? [] : ['Linux'];

let bundle: string;
let folder: string;
let volumes: string;
let agent: ChildProcess;
let log: string;
beforeAll(async () => {
  bundle = await builtBundle();
}, 120_000);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kf-agent-'));
  // Without root, the agent needs a directory that is a tmpfs already.
  volumes = isRoot ? join(folder, 'volumes') : mkdtempSync('/dev/shm/kf-agent-');
  mkdirSync(join(folder, 'shim'));
  for (const architecture of ['amd64', 'arm64'])
    writeFileSync(join(folder, `shim/dso-shim-linux-${architecture}`), 'the shim');
  keyferry('', 'local', 'init', ...storeFlags());
  keyferry(canary, 'local', 'set', ...storeFlags(), 'my-app/database-password');
  const files = `store_file: ${join(folder, 'store')}, key_file: ${join(folder, 'key')}`;
  writeFileSync(join(folder, 'dso.yaml'), `providers: {local: {type: local, ${files}}}`);
});
afterEach(async () => {
  if (agent.exitCode === null && agent.signalCode === null) {
    agent.kill('SIGKILL');
    await once(agent, 'exit');
  }
  if (isRoot) execFileSync('umount', [volumes]);
  rmSync(volumes, { recursive: true });
  rmSync(folder, { recursive: true });
});

const storeFlags = (): readonly string[] => [
  ...['--store', join(folder, 'store'), '--key', join(folder, 'key')],
];

function keyferry(input: string, ...args: readonly string[]): void {
  execFileSync(process.execPath, [bundle, ...args], { input });
}

async function startAgent(): Promise<void> {
  const path = (name: string): string => join(folder, name);
  agent = spawn(process.execPath, [
    ...[bundle, 'docker-agent', '--config', path('dso.yaml'), '--socket', path('agent.sock')],
    ...['--plugin-socket', path('dso.sock'), '--volumes-dir', volumes],
    ...['--state-dir', path('state'), '--shim-dir', path('shim')],
    ...['--health-address', `unix:${path('health.sock')}`],
  ]);
  log = '';
  // `docker logs dso-container | grep` reads standard output alone.
  agent.stdout?.setEncoding('utf8').on('data', (text: string) => (log += text));
  while (!log.includes('"serving"')) {
    if (agent.exitCode !== null) throw new Error(`the agent ended: ${log}`);
    await sleep(10);
  }
}

async function driver(call: string, body: object): Promise<{ Err: string }> {
  const text = JSON.stringify(body);
  return (await requestOver(join(folder, 'dso.sock'), 'POST', `/VolumeDriver.${call}`, text)).json;
}

async function control(method: string, path: string, body?: object): Promise<unknown> {
  const text = body && JSON.stringify(body);
  return (await requestOver(join(folder, 'agent.sock'), method, path, text)).json;
}

async function register(services: number): Promise<void> {
  const ref = { path: 'my-app/database-password' };
  const registered = Array.from({ length: services }, (_, index) => ({
    ...{ project: 'shop', service: `app${index}`, exec: 'on' },
    variables: [{ name: 'DB_PASSWORD', ref }],
    files: [{ path: 'db', ref, variable: 'DB_FILE' }],
  }));
  const body = { services: registered, stores: {} };
  expect(await control('PUT', '/v1/projects/shop', body)).toEqual({});
}

/** The files below a directory that have the value. */
function planted(directory: string): readonly string[] {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    // Some versions of Node also go through links to directories.
    .map((entry) => realpathSync(join(entry.parentPath, entry.name)));
  return [...new Set(files)].filter((path) => readFileSync(path).includes(canary));
}

describeIfAvailable('keyferry docker-agent', missing)('keyferry docker-agent', () => {
  test('keeps values on a tmpfs only, for 50 mounts at once', async () => {
    await startAgent();
    await register(50);
    const starts = Array.from({ length: 50 }, async (_, index) => [
      await driver('Create', { Name: `dso_shop.app${index}` }),
      await driver('Mount', { Name: `dso_shop.app${index}`, ID: `v${index}` }),
      await driver('Mount', { Name: `dsofiles_shop.app${index}`, ID: `f${index}` }),
    ]);
    for (const responses of await Promise.all(starts))
      expect(responses.map(({ Err }) => Err)).toEqual(['', '', '']);
    expect(planted(volumes)).toHaveLength(100);
    expect(statfsSync(volumes).type).toBe(0x01021994);
    expect(planted(join(folder, 'state'))).toEqual([]);
    expect(log).not.toContain(canary);
    const health = join(folder, 'health.sock');
    const ready = await requestOver(health, 'GET', '/readyz');
    expect(ready).toEqual({ status: 200, json: { ready: true, reasons: [] } });
  });

  test('is killed and started again: containers keep their files, and can start', async () => {
    await startAgent();
    await register(1);
    await driver('Create', { Name: 'dso_shop.app0' });
    await driver('Mount', { Name: 'dso_shop.app0', ID: 'v1' });
    agent.kill('SIGKILL');
    await once(agent, 'exit');
    expect(existsSync(join(folder, 'dso.sock'))).toBe(true);
    const env = join(volumes, 'dso_shop.app0/env');
    expect(readFileSync(env, 'utf8')).toBe(`DB_PASSWORD=${canary}\0DB_FILE=/run/secrets/dso/db\0`);

    await startAgent();
    expect(await driver('Get', { Name: 'dso_shop.app0' })).toMatchObject({ Err: '' });
    expect(await driver('Mount', { Name: 'dso_shop.app0', ID: 'v2' })).toMatchObject({ Err: '' });
    const [service] = (await control('GET', '/v1/services')) as readonly unknown[];
    expect(service).toMatchObject({ state: 'ACTIVE', mounts: 2 });
    await driver('Unmount', { Name: 'dso_shop.app0', ID: 'v1' });
    expect(existsSync(env)).toBe(true);
    await driver('Unmount', { Name: 'dso_shop.app0', ID: 'v2' });
    expect(planted(volumes)).toEqual([]);
  });

  test('ends on SIGTERM, and leaves the files of running containers', async () => {
    await startAgent();
    await register(1);
    await driver('Mount', { Name: 'dso_shop.app0', ID: 'v1' });
    agent.kill('SIGTERM');
    expect((await once(agent, 'exit'))[0]).toBe(0);
    expect(planted(join(volumes, 'dso_shop.app0'))).toHaveLength(1);
    expect(readdirSync(folder)).not.toContain('dso.sock');
    expect(readdirSync(folder)).not.toContain('agent.sock');
  });

  test('ends on SIGTERM while the engine and a plugin keep their connections open', async () => {
    await startAgent();
    const connections = ['dso.sock', 'agent.sock'].map((name) => connect(join(folder, name)));
    for (const connection of connections) {
      connection.write('POST /Plugin.Activate HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n');
      await once(connection, 'data');
    }
    agent.kill('SIGTERM');
    expect((await once(agent, 'exit'))[0]).toBe(0);
    for (const connection of connections) connection.destroy();
  });

  test('says in one line why it cannot start', async () => {
    await startAgent();
    for (const [yaml, message] of [
      ['providers: {a: {type: awz}}', /other.yaml cannot be used: line 1: .*must be one of huawei/],
      ['', /agent.sock is in use: .*; stop the other agent first/],
    ] as const) {
      writeFileSync(join(folder, 'other.yaml'), yaml);
      const { stderr, status } = runAgent('--config', join(folder, 'other.yaml'));
      expect(status).toBe(1);
      expect(stderr.trimEnd().split('\n').at(-1)).toMatch(message);
    }
  });
});

function runAgent(...args: readonly string[]): { stderr: string; status: number } {
  try {
    const flags = [
      ...['--socket', join(folder, 'agent.sock'), '--plugin-socket', join(folder, 'dso.sock')],
      ...['--volumes-dir', volumes, '--state-dir', join(folder, 'state')],
      ...['--shim-dir', join(folder, 'shim')],
    ];
    execFileSync(process.execPath, [bundle, 'docker-agent', ...flags, ...args], { stdio: 'pipe' });
  } catch (thrown) {
    const { stderr, status } = thrown as { stderr: Buffer; status: number };
    return { stderr: stderr.toString(), status };
  }
  throw new Error('the agent has started');
}
