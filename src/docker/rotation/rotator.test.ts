import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MemoryStore, TestAgent, agentFolder, eventually } from '../../../test/docker/agent.ts';
import { type FakeContainer, FakeEngine } from '../../../test/docker/fake-engine.ts';
import type { ServiceStatus } from '../agent-api.ts';
import type { Rotation } from '../config/types.ts';
import type { Injection } from '../model/types.ts';
import { replacesLabel, replicasLabel } from './clone-container.ts';
import type { RotationDelays } from './rotator.ts';

let folder: string;
let removeFolder: () => void;
let store: MemoryStore;
let engine: FakeEngine;
let agent: TestAgent;

beforeEach(async () => {
  ({ folder, remove: removeFolder } = agentFolder());
  store = new MemoryStore();
  store.values.set('token', 'first');
  engine = new FakeEngine(join(folder, 'docker.sock'));
  await engine.start();
  agent = await start();
});
afterEach(async () => {
  await agent.stop(0);
  await engine.stop();
  removeFolder();
});

async function start(more: RotationDelays = {}): Promise<TestAgent> {
  const delays = { holdMs: 0, settleMs: 0, pollMs: 1, retryMs: 20, healthMs: 200, ...more };
  const options = { folder, store, engineSocket: engine.socketPath, rotationDelays: delays };
  const started = new TestAgent({
    ...options,
    recoveryDelays: { firstRetryMs: 20, settleMs: 3_600_000 },
  });
  await started.agent.start();
  return started;
}

const variables = [{ name: 'TOKEN', ref: { path: 'token' } }];
const files = [{ path: 'token', ref: { path: 'token' } }];

const register = (rotation: Partial<Rotation>, asks: Partial<Injection> = { variables }) =>
  agent.register('shop', {
    app: { ...asks, rotation: { enabled: true, strategy: 'restart', ...rotation } },
  });

let mounts = 0;
/** A replica that mounts the volumes as the engine does. */
function replica(number: number, more: Partial<FakeContainer> = {}): FakeContainer {
  let mounted: string[] = [];
  return engine.add({
    id: `shop-app-${number}`,
    labels: {
      'com.docker.compose.project': 'shop',
      'com.docker.compose.service': 'app',
      'com.docker.compose.container-number': String(number),
    },
    startedAt: `2026-01-0${number}T00:00:00Z`,
    ...starting(
      () => mounted,
      (ids) => (mounted = ids),
    ),
    ...more,
  });
}

function starting(get: () => string[], set: (ids: string[]) => void): Partial<FakeContainer> {
  return {
    onStart: async () => {
      const id = `mount-${++mounts}`;
      const problem = await agent.mount('dso_shop.app', id);
      if (problem !== '') throw new Error(problem);
      set([id]);
    },
    onStop: async () => {
      for (const id of get()) await agent.unmount('dso_shop.app', id);
      set([]);
    },
  };
}

/** Starts replicas as Compose does. */
async function up(...replicas: readonly FakeContainer[]): Promise<void> {
  for (const container of replicas) {
    await container.onStart?.();
    container.state = 'running';
  }
}

async function change(value: string): Promise<void> {
  store.values.set('token', value);
  await agent.control('POST', '/v1/refresh', { path: 'token' });
}

async function status(): Promise<ServiceStatus | undefined> {
  const { json } = await agent.control('GET', '/v1/services?project=shop');
  return (json as readonly ServiceStatus[])[0];
}

const untilRotated = (): Promise<void> =>
  eventually(async () =>
    expect(await status()).toMatchObject({
      rotation: { state: 'idle', rotatedAt: expect.any(Number) },
    }),
  );
const untilFailed = (): Promise<void> =>
  eventually(async () => expect(await status()).toMatchObject({ rotation: { state: 'failed' } }));

describe('restart', () => {
  test('restarts the replicas one after another, the oldest first, with the grace', async () => {
    await register({ graceMs: 2_500 });
    await up(replica(2), replica(1));
    await change('second');
    await untilRotated();
    expect(engine.changes).toEqual(['restart shop-app-1 t=3', 'restart shop-app-2 t=3']);
    expect(await status()).toMatchObject({ state: 'ACTIVE', mounts: 2 });
    expect(agent.variables('shop', 'app')).toEqual({ TOKEN: 'second' });
  });

  test('is one action for several changed secrets', async () => {
    store.values.set('user', 'first');
    await register({}, { variables: [...variables, { name: 'USER', ref: { path: 'user' } }] });
    await up(replica(1));
    store.values.set('user', 'second');
    await change('second');
    await untilRotated();
    await change('second');
    expect(engine.changes).toEqual(['restart shop-app-1']);
  });

  test('leaves alone what a person has stopped, and containers of docker dso run', async () => {
    await register({});
    const oneOff = { ...replica(1).labels, 'com.docker.compose.oneoff': 'True' };
    engine.containers.length = 0;
    await up(replica(1), replica(3, { id: 'shop-app-run-x', labels: oneOff }));
    replica(2, { exitCode: 143 });
    await change('second');
    await untilRotated();
    expect(engine.changes).toEqual(['restart shop-app-1']);
    // The one-off container still has the earlier value, and is no reason to restart others.
    await change('second');
    expect(await status()).toMatchObject({ state: 'STALE', staleSince: expect.any(Number) });
    expect(engine.changes).toHaveLength(1);
  });

  test('stops at a replica that does not become healthy, and touches no other one', async () => {
    await register({});
    const [one, two] = [replica(1, { health: 'healthy' }), replica(2, { health: 'healthy' })];
    await up(one, two);
    one.health = 'unhealthy';
    await change('second');
    await untilFailed();
    await eventually(() => expect(agent.lines.join('')).toContain('"retryInMs":40'));
    expect(engine.changes).toEqual(['restart shop-app-1']);
    expect(await status()).toMatchObject({
      state: 'STALE',
      rotation: { failure: { code: 'ROTATION_FAILED' } },
    });
    one.health = 'healthy';
    await untilRotated();
    expect(engine.changes.slice(1)).toEqual(['restart shop-app-2']);
    const metrics = await agent.registry.metrics();
    expect(metrics).toContain('keyferry_rotations_total{strategy="restart",result="succeeded"} 1');
    expect(metrics).toContain('keyferry_services{state="ACTIVE"} 1');
    expect(metrics).toContain('keyferry_services_rotation_failed 0');
  });

  test('waits for a replica that is not healthy yet before it stops another one', async () => {
    await register({});
    const [one, two] = [replica(1), replica(2, { health: 'starting' })];
    await up(one, two);
    await change('second');
    const questions = (): number =>
      engine.paths.filter((path) => path.endsWith('/shop-app-2/json')).length;
    await eventually(() => expect(questions()).toBeGreaterThan(4));
    expect(engine.changes).toEqual([]);
    two.health = 'healthy';
    await untilRotated();
    expect(engine.changes).toEqual(['restart shop-app-1', 'restart shop-app-2']);
  });

  test('helps replicas that are all unhealthy, because the earlier secret has ended', async () => {
    await register({});
    for (const number of [1, 2]) {
      const container = replica(number, { health: 'unhealthy' });
      const onStart = async (): Promise<void> => {
        await container.onStart?.();
        engine.containers.find(({ id }) => id === container.id)!.health = 'healthy';
      };
      await up(container);
      engine.containers.splice(engine.containers.indexOf(container), 1, { ...container, onStart });
    }
    await change('second');
    await untilRotated();
    expect(engine.changes).toEqual(['restart shop-app-1', 'restart shop-app-2']);
  });

  test('that waits for another attempt is tried at once for a newer version', async () => {
    await agent.stop(0);
    agent = await start({ retryMs: 3_600_000 });
    await register({});
    const [one, two] = [replica(1), replica(2, { health: 'unhealthy' })];
    await up(one, two);
    await change('second');
    await untilFailed();
    two.health = 'healthy';
    await change('third');
    await untilRotated();
    expect(engine.changes).toEqual(['restart shop-app-1', 'restart shop-app-2']);
  });

  test('is needed again if the store goes back to the version before, after a failure', async () => {
    await register({});
    const [one, two] = [replica(1), replica(2)];
    await up(one, two);
    await change('second');
    await untilRotated();
    const before = engine.changes.length;
    one.health = 'unhealthy';
    await change('third');
    await untilFailed();
    expect(engine.changes.slice(before)).toEqual(['restart shop-app-1']);
    one.health = 'healthy';
    await change('second');
    await eventually(async () => {
      const { state, rotation } = (await status())!;
      expect({ state, rotation: rotation?.state }).toEqual({ state: 'ACTIVE', rotation: 'idle' });
    });
    expect(agent.variables('shop', 'app')).toEqual({ TOKEN: 'second' });
  });

  test.each(['unhealthy', 'starting'])(
    'has failed if its only replica stays %s',
    async (health) => {
      await register({});
      const one = replica(1, { health });
      await up(one);
      await change('second');
      await untilFailed();
      const attempts = (): number =>
        engine.paths.filter((path) => path.includes('/json?all')).length;
      const before = attempts();
      await eventually(() => expect(attempts()).toBeGreaterThan(before + 3));
      expect(await status()).toMatchObject({ state: 'ACTIVE', rotation: { state: 'failed' } });
      one.health = 'healthy';
      await eventually(async () =>
        expect(await status()).toMatchObject({ rotation: { state: 'idle' } }),
      );
      expect(engine.changes).toEqual(['restart shop-app-1']);
    },
  );

  test('leaves the last replica alone while another one could not start', async () => {
    await register({});
    // The engine keeps the exit code of the stop before the start that has failed.
    replica(1, { exitCode: 137, error: "error while mounting volume ''" });
    await up(replica(2));
    await change('second');
    await untilFailed();
    expect(engine.changes).toEqual([]);
  });

  test.each(['the same', 'the next'])(
    'that has stopped a container and cannot start it: %s agent starts it, without a restart policy',
    async (which) => {
      await register({});
      let isBroken = false;
      const container = replica(1, { restartPolicy: 'no' });
      const { onStart } = container;
      const broken = engine.add({
        ...container,
        onStart: async () => {
          if (isBroken) throw new Error('no space left on device');
          await onStart?.();
        },
      });
      engine.containers.splice(0, 1);
      await up(broken);
      isBroken = true;
      await change('second');
      await untilFailed();
      if (which === 'the next') {
        await agent.stop(0);
        agent = await start();
      }
      isBroken = false;
      await eventually(() => expect(broken.state).toBe('running'));
      expect(agent.variables('shop', 'app')).toEqual({ TOKEN: 'second' });
      // A person who stops it later wants that.
      await eventually(() => expect(readdirSync(agent.path('state/restarts'))).toEqual([]));
    },
  );

  test('is not repeated by an agent that starts again', async () => {
    await register({});
    await up(replica(1));
    await change('second');
    await untilRotated();
    await agent.stop(0);
    agent = await start();
    await change('second');
    expect(await status()).toMatchObject({ state: 'ACTIVE', rotation: { state: 'idle' } });
    expect(engine.changes).toEqual(['restart shop-app-1']);
  });

  test('is made up for by an agent that starts after one that was killed before it', async () => {
    await register({ strategy: 'none' });
    await up(replica(1));
    await change('second');
    await register({ strategy: 'restart' });
    await agent.stop(0);
    agent = await start();
    await untilRotated();
    expect(engine.changes).toEqual(['restart shop-app-1']);
  });

  test('does not follow from another reference: Compose makes that container again', async () => {
    store.values.set('other', 'other');
    await register({});
    await up(replica(1));
    await register({}, { variables: [{ name: 'TOKEN', ref: { path: 'other' } }] });
    await eventually(() => expect(agent.variables('shop', 'app')).toEqual({ TOKEN: 'other' }));
    expect(engine.changes).toEqual([]);
  });
});

describe('a credential that cannot be extended', () => {
  test('is given back after all containers have switched to the next one', async () => {
    store.values.set('token', () => `user-${store.reads.length}`);
    store.endsLeases = true;
    let release = (): void => undefined;
    const stopped = new Promise<void>((resolve) => (release = resolve));
    await register({});
    const container = replica(1);
    await up(container);
    engine.containers[0] = {
      ...container,
      state: 'running',
      onStop: async () => {
        await stopped;
        await container.onStop?.();
      },
    };
    agent.clockOffset = 45 * 60_000;
    agent.tick();
    await eventually(async () => {
      await agent.control('POST', '/v1/refresh', { path: 'token' });
      expect(agent.variables('shop', 'app')).toEqual({ TOKEN: 'user-2' });
    });
    await agent.control('POST', '/v1/refresh', { path: 'token' });
    expect(store.released).toEqual([]);
    release();
    await untilRotated();
    await agent.control('POST', '/v1/refresh', { path: 'token' });
    await eventually(() => expect(store.released).toEqual(['lease-1']));
    expect(await status()).toMatchObject({ state: 'ACTIVE' });
  });

  test('is not given back by a read that began before its end', async () => {
    store.values.set('token', () => `user-${store.reads.length}`);
    store.values.set('other', 'first');
    store.endsLeases = true;
    const both = [...variables, { name: 'OTHER', ref: { path: 'other' } }];
    await register({ strategy: 'none' }, { variables: both });
    await up(replica(1));
    let open = (): void => undefined;
    store.gate = new Promise((resolve) => (open = resolve));
    agent.clockOffset = 11_000;
    const reads = store.reads.length;
    await register({ strategy: 'none', graceMs: 1 }, { variables: both });
    await eventually(() => expect(store.reads.slice(reads)).toEqual(['other']));
    agent.clockOffset = 45 * 60_000;
    agent.tick();
    await eventually(async () =>
      expect(await agent.registry.metrics()).toMatch(/lease_events_total\{.*ended.*\} 1/),
    );
    open();
    // The next one brings another credential, and the containers still have the one before.
    await agent.control('POST', '/v1/refresh', { path: 'token' });
    expect(await status()).toMatchObject({ state: 'STALE' });
    expect(store.released).toEqual([]);
  });
});

describe('auto', () => {
  test('restarts for a variable, and not for a file', async () => {
    await register({ strategy: 'auto' }, { files });
    await up(replica(1));
    await change('second');
    await register({ strategy: 'auto' });
    await up(replica(1));
    engine.containers.splice(0, 1);
    await change('third');
    await untilRotated();
    expect(engine.changes).toEqual(['restart shop-app-1']);
  });
});

describe('signal', () => {
  test('sends the signal once for a change, to all replicas', async () => {
    await register({ strategy: 'signal', signal: 'SIGUSR1' }, { files });
    await up(replica(1), replica(2));
    await change('second');
    await untilRotated();
    await change('second');
    const signals = ['kill shop-app-1 signal=SIGUSR1', 'kill shop-app-2 signal=SIGUSR1'];
    expect(engine.changes).toEqual(signals);
    await change('third');
    await eventually(() => expect(engine.changes).toEqual([...signals, ...signals]));
    await untilRotated();
    // The programs have the third value, and not the one that they started with.
    await change('first');
    await eventually(() => expect(engine.changes).toEqual([...signals, ...signals, ...signals]));
  });
});

describe('rolling', () => {
  beforeEach(async () => {
    engine.onCreate = (name, { Labels }) => {
      let mounted: string[] = [];
      return {
        id: name,
        labels: Labels,
        ...starting(
          () => mounted,
          (ids) => (mounted = ids),
        ),
      };
    };
    await register({ strategy: 'rolling', graceMs: 1_000 });
  });

  test('starts each new container before an old one stops, under the first free number', async () => {
    await up(replica(1), replica(2));
    await change('second');
    await untilRotated();
    expect(engine.changes).toEqual([
      ...['create shop-app-3', 'stop shop-app-1 t=1', 'remove shop-app-1 force=1&v=1'],
      ...['create shop-app-1', 'stop shop-app-2 t=1', 'remove shop-app-2 force=1&v=1'],
    ]);
    expect(engine.starts).toEqual(['shop-app-3', 'shop-app-1']);
    expect(engine.containers.map(({ id }) => id)).toEqual(['shop-app-3', 'shop-app-1']);
  });

  test('takes no number that a replica without secrets has', async () => {
    await up(replica(1));
    replica(2, { volumes: [] });
    await change('second');
    await untilRotated();
    expect(engine.containers.map(({ id }) => id)).toEqual(['shop-app-2', 'shop-app-3']);
  });

  test('copies a container in the newest API of the engine, which ignores no field of it', async () => {
    await agent.stop(0);
    engine.version = { ApiVersion: '1.51', MinAPIVersion: '1.24' };
    agent = await start();
    await up(replica(1));
    await change('second');
    await untilRotated();
    expect(engine.paths).toContain('GET /v1.51/containers/shop-app-1/json');
    expect(engine.paths).toContain('POST /v1.51/containers/create?name=shop-app-2');
  });

  test('removes a new container that does not start well, and keeps the old one', async () => {
    const create = engine.onCreate;
    engine.onCreate = (name, body) => ({ ...create(name, body), health: 'unhealthy' });
    await up(replica(1));
    await change('second');
    await untilFailed();
    expect(engine.changes.slice(0, 2)).toEqual([
      'create shop-app-2',
      'remove shop-app-2 force=1&v=1',
    ]);
    expect(engine.containers.map(({ id }) => id)).toContain('shop-app-1');
    engine.onCreate = create;
    await change('third');
    await untilRotated();
    expect(engine.containers.map(({ id }) => id)).toEqual(['shop-app-2']);
  });

  test('does not replace what another container depends on', async () => {
    await up(replica(1));
    engine.add({ id: 'sidecar', networkMode: 'container:shop-app-1', volumes: [] });
    await change('second');
    await untilFailed();
    expect((await status())?.rotation?.failure).toMatchObject({
      message: 'shop-app-1 cannot be replaced while it runs: sidecar uses its network',
      hint: 'use the strategy restart for this service',
    });
    expect(engine.changes).toEqual([]);
  });

  test('that was killed half way leaves the replicas that docker dso up has chosen since', async () => {
    const old = replica(1);
    const taken = replica(2);
    const labels = { ...taken.labels, [replacesLabel]: old.id, [replicasLabel]: '2' };
    engine.containers.splice(1, 1, { ...taken, labels });
    await up(...engine.containers);
    await agent.stop(0);
    agent = await start();
    await change('second');
    await untilRotated();
    expect(engine.containers).toHaveLength(2);
  });

  test('does not remove a replica if another one has been removed meanwhile', async () => {
    const create = engine.onCreate;
    const [one, two] = [replica(1), replica(2)];
    await up(one, two);
    engine.onCreate = (name, body) => {
      engine.containers.splice(engine.containers.indexOf(two), 1);
      engine.onCreate = create;
      return create(name, body);
    };
    await change('second');
    await untilRotated();
    expect(engine.containers).toHaveLength(2);
  });

  test.each(['healthy', 'unhealthy'])(
    'that was killed half way is finished: the new container is %s',
    async (health) => {
      const old = replica(1);
      await up(old);
      await agent.stop(0);
      replica(2, { health, state: 'running', labels: { ...old.labels, [replacesLabel]: old.id } });
      agent = await start();
      const kept = health === 'healthy' ? 'shop-app-2' : 'shop-app-1';
      await eventually(() => expect(engine.containers.map(({ id }) => id)).toEqual([kept]));
    },
  );
});

test('a rolling service that has lost its containers needs nothing', async () => {
  await agent.stop(0);
  agent = await start({ holdMs: 400 });
  await register({ strategy: 'rolling' });
  await agent.mount('dso_shop.app', 'one');
  await change('second');
  await agent.unmount('dso_shop.app', 'one');
  // Its first rotation is due now.
  await sleep(400);
  expect(await status()).toMatchObject({ state: 'INACTIVE', rotation: { state: 'idle' } });
});

describe('a person who acts while a rotation waits for a new container', () => {
  const stop = async (container: FakeContainer, exitCode = 143): Promise<void> => {
    await container.onStop?.();
    Object.assign(container, { state: 'exited', exitCode });
  };
  const remove = async (container: FakeContainer): Promise<void> => {
    await stop(container);
    engine.containers.splice(engine.containers.indexOf(container), 1);
  };

  test('and stops the next replica: restart does not start it', async () => {
    await register({});
    const [one, two, three] = [replica(1), replica(2), replica(3)];
    await up(one, two, three);
    one.health = 'starting';
    await change('second');
    await eventually(() => expect(engine.changes).toEqual(['restart shop-app-1']));
    await stop(two);
    one.health = 'healthy';
    await untilRotated();
    expect(engine.changes).toEqual(['restart shop-app-1', 'restart shop-app-3']);
  });

  test.each(['stops', 'removes'])('and %s it: restart has not failed', async (what) => {
    await register({});
    const [one, two] = [replica(1), replica(2)];
    await up(one, two);
    one.health = 'starting';
    await change('second');
    await eventually(() => expect(one.startedAt).not.toMatch(/^2026-01-01/));
    await (what === 'stops' ? stop(one) : remove(one));
    await untilRotated();
    expect(engine.changes).toEqual(['restart shop-app-1', 'restart shop-app-2']);
    expect(agent.lines.join('')).not.toContain('rotation failed');
  });

  test.each([
    ['stops', 'leaves no new one behind', ['shop-app-1']],
    ['removes', 'leaves the new one in its place, as Compose does', ['shop-app-2']],
  ])('and %s the old one: rolling %s', async (what, _, left) => {
    engine.onCreate = (name, { Labels }) => ({ id: name, labels: Labels, health: 'starting' });
    await register({ strategy: 'rolling' });
    const old = replica(1);
    await up(old);
    await change('second');
    await eventually(() => expect(engine.starts).toEqual(['shop-app-2']));
    await (what === 'stops' ? stop(old) : remove(old));
    engine.containers.find(({ id }) => id === 'shop-app-2')!.health = 'healthy';
    await eventually(() => expect(engine.containers.map(({ id }) => id)).toEqual(left));
    expect(old.state).toBe('exited');
  });
});
