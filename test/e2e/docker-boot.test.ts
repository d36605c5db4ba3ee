import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { randomBytes, randomInt } from 'node:crypto';
import { readFile, rename } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ServiceStatus } from '../../src/docker/agent-api.ts';
import { eventually, requestOver } from '../docker/agent.ts';
import { describeIfAvailable } from '../if-available.ts';
import { buildCompose, missingDockerDependencies, type Engine } from '../servers/docker/engine.ts';
import { findPlanted } from '../servers/docker/find-planted.ts';
import { testImages } from '../servers/docker/images.ts';
import {
  startDockerEnvironment,
  type DockerEnvironment,
  type Project,
} from './docker-environment.ts';

const missingDependencies = await missingDockerDependencies();
/** How often the agent is killed. A long run: DOCKER_KILLS=20. */
const kills = Number(process.env.DOCKER_KILLS ?? 4);
const longMs = 60_000;

const service = (name: string, restart: string): string => `
  ${name}:
    image: ${testImages.busybox}
    command: stay
    restart: "${restart}"
    environment: {KEY: "dso://boot/key"}
    stop_signal: SIGKILL
`;

describeIfAvailable(import.meta.filename, missingDependencies)('docker dso over crashes', () => {
  let environment: DockerEnvironment;
  let engine: Engine;
  let boot: Project;
  let value: string;

  beforeAll(async () => {
    await buildCompose();
    environment = await startDockerEnvironment();
    ({ engine } = environment);
    value = `planted-${randomBytes(12).toString('hex')}`;
    await environment.put('boot/key', value);
  }, 900_000);
  afterEach(async () => {
    await boot.compose(['down', '-t', '0']);
    // Compose does not know them. If they stay, a later engine waits for their agent at its start.
    const volumes = await engine.output(['volume', 'ls', '--quiet', '--filter', 'driver=dso']);
    for (const name of volumes.split('\n').filter((each) => each !== ''))
      await engine.output(['volume', 'rm', name]);
    await eventually(() => expect(readdirSync(environment.volumes)).toEqual(['.dso']), longMs);
  }, 120_000);
  afterAll(() => environment.stop(), 120_000);

  async function up(services: string): Promise<void> {
    boot = await environment.project('boot', { 'compose.yaml': `services:${services}` });
    await boot.dsoOutput(['up', '-d']);
  }
  const statusOf = async (name: string): Promise<ServiceStatus | undefined> => {
    const socket = environment.path('agent.sock');
    const { json } = await requestOver(socket, 'GET', '/v1/services?project=boot');
    return (json as readonly ServiceStatus[]).find((each) => each.service === name);
  };
  const stateOf = async (name: string) => (await boot.inspect(`boot-${name}-1`)).State;
  const hasValue = async (name: string): Promise<void> => {
    expect(await engine.output(['exec', `boot-${name}-1`, 'printenv', 'KEY'])).toBe(`${value}\n`);
  };

  describe('an engine that is killed', () => {
    afterAll(() => engine.configure({}));

    test('leaves no mount behind: what runs again has one, and what does not has none', async () => {
      await up(service('kept', 'always') + service('ended', 'no'));
      await engine.killEngine();
      await engine.startEngine();
      await eventually(async () => {
        expect(await statusOf('kept')).toMatchObject({ state: 'ACTIVE', mounts: 1 });
        expect(await statusOf('ended')).toMatchObject({ state: 'INACTIVE', mounts: 0 });
      }, longMs);
      await hasValue('kept');
      expect((await stateOf('ended')).Status).toBe('exited');
      expect(readdirSync(environment.volumes).sort()).toEqual(['.dso', 'dso_boot.kept']);
    });

    test('with live-restore: its containers go on, and keep their mounts', async () => {
      await engine.stopEngine();
      await engine.configure({ 'live-restore': true });
      await engine.startEngine();
      await up(service('kept', 'unless-stopped'));
      const { StartedAt } = await stateOf('kept');
      await engine.killEngine();
      await hasKeptMount();
      await engine.startEngine();
      await eventually(async () => expect((await stateOf('kept')).StartedAt).toBe(StartedAt));
      await hasKeptMount();
      const variables = await readFile(join(environment.volumes, 'dso_boot.kept/env'), 'utf8');
      expect(variables).toBe(`KEY=${value}\0`);
      // An engine does not unmount the volumes of a container that an earlier one has started.
      await engine.output(['stop', 'boot-kept-1']);
      await eventually(
        async () => expect(await statusOf('kept')).toMatchObject({ mounts: 0 }),
        longMs,
      );
    });

    async function hasKeptMount(): Promise<void> {
      expect(await statusOf('kept')).toMatchObject({ state: 'ACTIVE', mounts: 1 });
    }
  });

  test('a boot without the agent: it starts what failed, and nothing that a person has stopped', async () => {
    await up(service('always', 'always') + service('stopped', 'unless-stopped'));
    await engine.output(['stop', 'boot-stopped-1']);
    await environment.losePower();
    // It waits 15 s for the agent: for each volume, for each container, and for each start.
    await engine.startEngine();
    expect(await stateOf('always')).toMatchObject({
      Status: 'exited',
      Error: expect.stringContaining('error looking up volume plugin'),
    });
    await environment.startAgent();
    await eventually(() => hasValue('always'), longMs);
    expect(await stateOf('stopped')).toMatchObject({ Status: 'exited', Error: '' });
  }, 300_000);

  test('a boot without the store: it starts what failed when the store is back', async () => {
    await up(service('app', 'always'));
    const store = environment.path('store.age');
    await environment.losePower();
    await rename(store, `${store}.away`);
    await environment.startAgent();
    await engine.startEngine();
    expect(await stateOf('app')).toMatchObject({
      Status: 'exited',
      Error: expect.stringContaining('error while mounting volume'),
    });
    await rename(`${store}.away`, store);
    await eventually(() => hasValue('app'), longMs);
    expect(await statusOf('app')).toMatchObject({ state: 'ACTIVE', mounts: 1 });
  }, 300_000);

  test(`an agent that is killed ${kills} times while a container starts and stops loses nothing`, async () => {
    await up(service('app', 'always'));
    for (let round = 0; round < kills; round++) {
      const restarted = engine.docker(['restart', '-t', '0', 'boot-app-1']);
      const delay = randomInt(700);
      await sleep(delay);
      await environment.stopAgent('SIGKILL');
      await environment.startAgent();
      await restarted;
      try {
        await eventually(() => hasValue('app'), longMs);
        await eventually(
          async () => expect(await statusOf('app')).toMatchObject({ state: 'ACTIVE', mounts: 1 }),
          longMs,
        );
        expect(readdirSync(environment.volumes).sort()).toEqual(['.dso', 'dso_boot.app']);
        expect(readdirSync(join(environment.volumes, 'dso_boot.app')).sort()).toEqual([
          'bin',
          'env',
        ]);
      } catch (cause) {
        throw new Error(`after a kill ${delay} ms after the restart`, { cause });
      }
    }
    const search = { newerThan: environment.path('store.key'), directories: engine.roots };
    expect(await findPlanted([value], search)).toEqual([]);
  }, 600_000);
});
