import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AgentOptions,
  MemoryStore,
  TestAgent,
  agentFolder,
  eventually,
} from '../../../test/docker/agent.ts';
import { FakeEngine } from '../../../test/docker/fake-engine.ts';
import { SecretError } from '../../core/errors.ts';
import type { ServiceStatus } from '../agent-api.ts';
import { hasFailedByAgent } from './engine-recovery.ts';

const away = 'error looking up volume plugin dso: plugin "dso" not found';
const app = { variables: [{ name: 'TOKEN', ref: { path: 'token' } }] };
const leased = { variables: [{ name: 'USER', ref: { path: 'database/creds/app' } }] };

let folder: string;
let removeFolder: () => void;
let store: MemoryStore;
let engine: FakeEngine;
let running: TestAgent[];

beforeEach(() => {
  ({ folder, remove: removeFolder } = agentFolder());
  store = new MemoryStore();
  store.values.set('token', 'value');
  store.values.set('database/creds/app', () => 'user');
  engine = new FakeEngine(join(folder, 'docker.sock'));
  running = [];
});
afterEach(async () => {
  await Promise.all(running.map((agent) => agent.stop(0)));
  await engine.stop();
  removeFolder();
});

async function start(options: Partial<AgentOptions> = {}): Promise<TestAgent> {
  const agent = new TestAgent({ folder, store, engineSocket: engine.socketPath, ...options });
  await agent.agent.start();
  running.push(agent);
  return agent;
}

async function stop(agent: TestAgent): Promise<void> {
  running.splice(running.indexOf(agent), 1);
  await agent.stop(0);
}

const isListed = (): boolean => engine.paths.some((path) => path.includes('/containers/json'));

async function statusOf(agent: TestAgent): Promise<ServiceStatus | undefined> {
  const { json } = await agent.control('GET', '/v1/services?project=shop');
  return (json as readonly ServiceStatus[])[0];
}

describe('a container that could not start because the agent was away', () => {
  test('is started once the agent and the engine serve', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    engine.add({
      id: 'app',
      error: away,
      onStart: async () => expect(await agent.mount('dso_shop.app', 'a')).toBe(''),
    });
    await engine.start();
    await eventually(() => expect(engine.containers[0]?.state).toBe('running'));
    expect(engine.starts).toEqual(['app']);
    expect(agent.variables('shop', 'app')).toEqual({ TOKEN: 'value' });
  });

  test('is started by an agent that starts after the engine', async () => {
    const first = await start();
    await first.register('shop', { app });
    await stop(first);
    engine.add({ id: 'app', error: away });
    await engine.start();
    await start();
    await eventually(() => expect(engine.starts).toEqual(['app']));
  });

  test('is started later if the store is away, and again after the next failure', async () => {
    store.failure = new SecretError('STORE_UNAVAILABLE', 'vault is away');
    const agent = await start({ recoveryDelays: { firstRetryMs: 10 } });
    await agent.register('shop', { app });
    engine.add({
      id: 'app',
      error: away,
      onStart: async () => {
        const error = await agent.mount('dso_shop.app', 'a');
        if (error !== '') throw new Error(`error while mounting volume '': ${error}`);
      },
    });
    await engine.start();
    await eventually(() => expect(engine.starts.length).toBeGreaterThan(1));
    store.failure = undefined;
    // A failed start answers for the next ones for two seconds.
    agent.clockOffset += 10_000;
    await eventually(() => expect(engine.containers[0]?.state).toBe('running'));
    expect(agent.lines.join('')).toContain('a container could not be started yet');
  });

  test('is looked for after a mount that fails', async () => {
    await engine.start();
    const agent = await start({ recoveryDelays: { firstRetryMs: 10 } });
    await agent.register('shop', { app });
    await eventually(() => expect(isListed()).toBe(true));
    store.failure = new SecretError('STORE_UNAVAILABLE', 'vault is away');
    const container = engine.add({ id: 'app', state: 'running' });
    const error = await agent.mount('dso_shop.app', 'a');
    Object.assign(container, {
      state: 'exited',
      error: `error while mounting volume '': ${error}`,
    });
    await eventually(() => expect(engine.starts).toEqual(['app']));
  });

  test('of a service that the agent does not know is left alone', async () => {
    engine.add({ id: 'app', error: away });
    await engine.start();
    const agent = await start();
    await eventually(() => expect(isListed()).toBe(true));
    await eventually(async () => expect(await infoOf(agent)).toEqual(engine.socketPath));
    expect(engine.starts).toEqual([]);
  });
});

async function infoOf(agent: TestAgent): Promise<string | undefined> {
  const { json } = await agent.control('GET', '/v1/info');
  return (json as { engine?: { socket: string } }).engine?.socket;
}

describe('whether a container failed because of the agent', () => {
  const failed = {
    ...{ isRunning: false, hasStarted: true, error: away, exitCode: 128 },
    restartPolicy: 'always',
  };
  const names = ['dso_shop.app', '/run/dso/volumes'];

  test.each(['always', 'unless-stopped', 'on-failure'])('with %s: yes', (restartPolicy) => {
    expect(hasFailedByAgent({ ...failed, restartPolicy }, names)).toBe(true);
  });

  test.each([
    `error while mounting volume '': there is no secret token of store vault`,
    `error while mounting volume '/run/dso/volumes/dso_shop.app': vault is away`,
    'get dso_shop.app: VolumeDriver.Get: Post "http://dso/VolumeDriver.Get": EOF',
    `error while mounting volume '': VolumeDriver.Mount: context deadline exceeded`,
  ])('with the error %s: yes', (error) => {
    expect(hasFailedByAgent({ ...failed, error }, names)).toBe(true);
  });

  test.each([
    ['it runs', { isRunning: true }],
    ['a person has stopped it', { error: '' }],
    ['it has never started', { hasStarted: false }],
    ['it has no restart policy', { restartPolicy: 'no' }],
    ['its port is taken', { error: 'Bind for 0.0.0.0:80 failed: port is already allocated' }],
    [
      'another volume cannot be mounted',
      { error: `error while mounting volume '/var/lib/docker/volumes/data/_data': no such device` },
    ],
  ])('if %s: no', (_, state) => {
    expect(hasFailedByAgent({ ...failed, ...state }, names)).toBe(false);
  });
});

describe('mounts that no container has', () => {
  test('are forgotten when the engine comes back: files go, and leases are given back', async () => {
    const agent = await start();
    await agent.register('shop', { app: leased });
    await agent.mount('dso_shop.app', 'a');
    engine.add({ id: 'app' });
    await engine.start();
    await eventually(() => expect(existsSync(join(folder, 'volumes/dso_shop.app'))).toBe(false));
    expect(await statusOf(agent)).toMatchObject({ state: 'INACTIVE', mounts: 0 });
    expect(readdirSync(join(folder, 'volumes/.dso/mounts'))).toEqual([]);
    agent.clockOffset += 11_000;
    agent.tick();
    await eventually(() => expect(store.released).toEqual(['lease-1']));
  });

  test('are those of before a kill of the engine, if it started the container again', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    await agent.mount('dso_shop.app', 'old');
    await agent.mount('dso_shop.app', 'new');
    engine.add({ id: 'app', state: 'running' });
    await engine.start();
    await eventually(async () => expect(await statusOf(agent)).toMatchObject({ mounts: 1 }));
    await agent.unmount('dso_shop.app', 'new');
    expect(await statusOf(agent)).toMatchObject({ mounts: 0 });
  });

  test('are not those of containers that an engine with live-restore has kept', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    for (const id of ['a', 'b']) await agent.mount('dso_shop.app', id);
    engine.add({ id: 'one', state: 'running' });
    engine.add({ id: 'two', state: 'paused' });
    await engine.start();
    await eventually(() => expect(isListed()).toBe(true));
    await engine.stop();
    await engine.start();
    const lists = () => engine.paths.filter((path) => path.includes('/containers/json'));
    await eventually(() => expect(lists()).toHaveLength(2));
    expect(await statusOf(agent)).toMatchObject({ state: 'ACTIVE', mounts: 2 });
  });

  test('are forgotten when a container ends and the engine does not unmount', async () => {
    const agent = await start({ recoveryDelays: { settleMs: 10 } });
    await agent.register('shop', { app });
    await agent.mount('dso_shop.app', 'a');
    const container = engine.add({ id: 'one', state: 'running' });
    await engine.start();
    await eventually(() => expect(isListed()).toBe(true));
    container.state = 'exited';
    engine.report('die');
    await eventually(async () => expect(await statusOf(agent)).toMatchObject({ mounts: 0 }));
  });

  test('are not those of a container that starts at the moment', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    await agent.mount('dso_shop.app', 'a');
    let settle = (): void => undefined;
    const container = engine.add({
      id: 'app',
      settled: new Promise((resolve) => (settle = resolve)),
    });
    await engine.start();
    await eventually(() =>
      expect(engine.paths).toContainEqual(expect.stringContaining('/containers/app/json')),
    );
    container.state = 'running';
    settle();
    await eventually(() => expect(engine.paths.length).toBeGreaterThan(3));
    expect(await statusOf(agent)).toMatchObject({ state: 'ACTIVE', mounts: 1 });
  });

  test('of a project that is deleted go, too', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    await agent.mount('dso_shop.app', 'a');
    await agent.control('DELETE', '/v1/projects/shop');
    await engine.start();
    await eventually(() => expect(readdirSync(join(folder, 'volumes'))).toEqual(['.dso']));
  });
});

describe('an engine that the agent cannot use', () => {
  test('is named in the log once, and in what the agent says of itself', async () => {
    const agent = await start();
    await agent.register('shop', { app });
    expect(await agent.mount('dso_shop.app', 'a')).toBe('');
    const failure = {
      code: 'NOT_CONFIGURED',
      message: `the container engine on ${engine.socketPath}: nothing listens on its socket`,
      hint: 'start the engine, or name its socket with --engine-socket',
    };
    await eventually(async () =>
      expect((await agent.control('GET', '/v1/info')).json).toMatchObject({
        engine: { socket: engine.socketPath, failure },
      }),
    );
    expect(agent.lines.filter((line) => line.includes('waits for the container engine'))).toEqual([
      expect.stringContaining('nothing listens on its socket'),
    ]);
    await engine.start();
    await eventually(async () =>
      expect((await agent.control('GET', '/v1/info')).json).toMatchObject({
        engine: { socket: engine.socketPath },
      }),
    );
  });

  test.each([
    [{ ApiVersion: '1.56', MinAPIVersion: '1.40' }, '1.41'],
    [{ ApiVersion: '1.60', MinAPIVersion: '1.44' }, '1.44'],
    [{ ApiVersion: '1.39', MinAPIVersion: '1.12' }, '1.39'],
  ])('is asked by an API that it has: %j', async (version, wanted) => {
    engine.version = version;
    await engine.start();
    await start();
    await eventually(() => expect(engine.paths).toContain(`GET /v${wanted}/containers/json?all=1`));
  });
});

describe('a container that starts', () => {
  const labels = {
    'com.docker.compose.project': 'shop',
    'com.docker.compose.service': 'app',
  };
  const audits = (agent: TestAgent): readonly object[] =>
    agent.lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ audit }) => audit === 'container');

  async function startMounted(): Promise<TestAgent> {
    engine.add({ id: 'shop-app-1', state: 'running' });
    await engine.start();
    const agent = await start();
    await agent.register('shop', { app });
    expect(await agent.mount('dso_shop.app', 'a')).toBe('');
    await eventually(() => expect(isListed()).toBe(true));
    return agent;
  }

  test('is in the audit log, with its name and the versions of its secrets', async () => {
    const agent = await startMounted();
    engine.report('start', 'shop-app-1', labels);
    await eventually(() => expect(audits(agent)).toHaveLength(1));
    expect(audits(agent)).toMatchObject([
      {
        ...{ project: 'shop', service: 'app', container: 'shop-app-1' },
        secrets: [{ source: 'dso://token', version: expect.stringMatching(/^v\d+$/) }],
      },
    ]);
    expect(JSON.stringify(audits(agent))).not.toContain('value');
  });

  test('is not, if its service has no secrets, or if the event is broken', async () => {
    const agent = await startMounted();
    engine.report('start', 'other', { ...labels, 'com.docker.compose.service': 'other' });
    engine.report('start', 'none');
    engine.reportRaw('{"Action":"start","Actor":{"ID":1}}\nnull\n{\n');
    engine.report('start', 'shop-app-1', labels);
    await eventually(() => expect(audits(agent)).toHaveLength(1));
  });

  test('of an engine that sends a line without an end: the agent connects again', async () => {
    const agent = await startMounted();
    const connections = (): number =>
      engine.paths.filter((path) => path.includes('/events')).length;
    expect(connections()).toBe(1);
    engine.reportRaw('x'.repeat(1_100_000));
    await eventually(() => expect(connections()).toBe(2));
    engine.report('start', 'shop-app-1', labels);
    await eventually(() => expect(audits(agent)).toHaveLength(1));
  });
});
