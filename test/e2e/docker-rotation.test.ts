import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { ServiceStatus } from '../../src/docker/agent-api.ts';
import { eventually, requestOver } from '../docker/agent.ts';
import { describeIfAvailable } from '../if-available.ts';
import { buildCompose, missingDockerDependencies, type Engine } from '../servers/docker/engine.ts';
import { testImages } from '../servers/docker/images.ts';
import {
  startDockerEnvironment,
  type DockerEnvironment,
  type Project,
} from './docker-environment.ts';

const missingDependencies = await missingDockerDependencies();
/** A rotation begins at the earliest 15 s after `up`, and a container must run for 3 s. */
const rotationMs = 90_000;

describeIfAvailable(import.meta.filename, missingDependencies)('rotation by docker dso', () => {
  let environment: DockerEnvironment;
  let engine: Engine;

  beforeAll(async () => {
    await buildCompose();
    environment = await startDockerEnvironment();
    ({ engine } = environment);
  }, 900_000);
  afterAll(() => environment.stop(), 120_000);

  /** A project with its own secret `NAME/key`, whose service `app` runs with it. */
  async function up(name: string, service: string, rotation?: string): Promise<Project> {
    await environment.put(`${name}/key`, 'first');
    const project = await environment.project(name, {
      'compose.yaml': `services:\n  app:\n    image: ${testImages.busybox}\n${service}`,
      ...(rotation !== undefined && { 'dso.yaml': `defaults: {rotation: ${rotation}}\n` }),
    });
    await project.dsoOutput(['up', '-d']);
    return project;
  }

  async function change({ name, dsoOutput }: Project, value: string): Promise<void> {
    await environment.put(`${name}/key`, value);
    await dsoOutput(['secret', 'refresh', `${name}/key`]);
  }

  async function statusOf({ name }: Project): Promise<ServiceStatus | undefined> {
    const path = `/v1/services?project=${name}`;
    const { json } = await requestOver(environment.path('agent.sock'), 'GET', path);
    return (json as readonly ServiceStatus[])[0];
  }

  async function containers({ name }: Project): Promise<readonly string[]> {
    const filter = ['--filter', `label=com.docker.compose.project=${name}`];
    const names = await engine.output(['ps', ...filter, '--format', '{{.Names}}']);
    return names.split('\n').filter(Boolean).sort();
  }

  /** What the application itself has, not `docker exec`. */
  const ofApplication = async (container: string): Promise<string> =>
    engine.output(['exec', container, 'cat', '/proc/1/environ']);

  async function allHave(project: Project, count: number, value: string): Promise<void> {
    await eventually(async () => {
      // First: the engine remembers 256 events, and each look into a container makes three.
      expect(await statusOf(project)).toMatchObject({
        ...{ state: 'ACTIVE', mounts: count },
        rotation: { state: 'idle', rotatedAt: expect.any(Number) },
      });
      const names = await containers(project);
      expect(names).toHaveLength(count);
      for (const name of names) expect(await ofApplication(name)).toContain(`KEY=${value}\0`);
    }, rotationMs);
  }

  /** `start NAME`, `die NAME` and so on, since a time of the engine. */
  async function eventsSince(since: string, { name }: Project): Promise<readonly string[]> {
    const until = (await engine.output(['system', 'info', '--format', '{{.SystemTime}}'])).trim();
    const filters = [`label=com.docker.compose.project=${name}`, 'event=start', 'event=die'];
    const text = await engine.output([
      ...['events', '--since', since, '--until', until],
      ...filters.flatMap((filter) => ['--filter', filter]),
      ...['--format', '{{.Action}} {{.Actor.Attributes.name}}'],
    ]);
    return text.split('\n').filter(Boolean);
  }
  const now = async (): Promise<string> =>
    (await engine.output(['system', 'info', '--format', '{{.SystemTime}}'])).trim();

  const environmentOf = (name: string): string =>
    `    command: stay\n    environment: {KEY: "dso://${name}/key"}\n`;
  const replicas = '    deploy: {replicas: 2}\n    stop_signal: SIGKILL\n';

  test('restart: one replica after another, and never both at once', async () => {
    const project = await up('again', environmentOf('again') + replicas, '{strategy: restart}');
    const [before, since] = [await containers(project), await now()];
    await change(project, 'second');
    await allHave(project, 2, 'second');
    expect(await containers(project)).toEqual(before);
    const events = await eventsSince(since, project);
    const [first = '', second = ''] = [events[0]?.split(' ')[1], events[2]?.split(' ')[1]];
    expect(events).toEqual([`die ${first}`, `start ${first}`, `die ${second}`, `start ${second}`]);
    expect(new Set([first, second])).toEqual(new Set(before));
    expect(await project.dsoOutput(['inspect', 'app'])).toMatch(
      /^Secret injection status: ACTIVE\n[^]*\nRotation: restart, last at \d{4}-/,
    );
  }, 180_000);

  describe('rolling', () => {
    let project: Project;

    test('starts each new container before the old one ends, and up leaves it as it is', async () => {
      project = await up(
        'rolled',
        `${environmentOf('rolled')}${replicas}    networks: {default: {aliases: [shop]}, other: {}}
    healthcheck: {test: '[ "$$KEY" != broken ]', interval: 1s, retries: 2}
networks: {other: {}}
`,
        '{strategy: rolling}',
      );
      const since = await now();
      await change(project, 'second');
      await allHave(project, 2, 'second');
      // Each new container takes the first free number, so the numbers do not grow.
      // Compose starts the replicas together. The one that started first is replaced first.
      expect(['rolled-app-1', 'rolled-app-2']).toContain((await containers(project))[0]);
      expect((await containers(project))[1]).toBe('rolled-app-3');
      const events = await eventsSince(since, project);
      expect(events.map((event) => event.split(' ')[0])).toEqual(['start', 'die', 'start', 'die']);
      const names = ['shop', 'app', ...(await containers(project))];
      for (const name of names)
        await engine.output(['exec', (await containers(project))[0] ?? '', 'nslookup', name]);
      const ids = await engine.output(['ps', '--quiet', '--no-trunc']);
      await project.dsoOutput(['up', '-d']);
      expect(await engine.output(['ps', '--quiet', '--no-trunc'])).toBe(ids);
    }, 240_000);

    test('keeps the old containers if the new one is not healthy, says so, and recovers', async () => {
      const before = await containers(project);
      await change(project, 'broken');
      await eventually(
        async () =>
          expect(await statusOf(project)).toMatchObject({ rotation: { state: 'failed' } }),
        rotationMs,
      );
      expect(await containers(project)).toEqual(before);
      for (const name of before) expect(await ofApplication(name)).toContain('KEY=second\0');
      const shown = await project.dsoOutput(['inspect', 'app']);
      expect(shown).toMatch(/^Secret injection status: STALE since \d{4}-/);
      expect(shown).toMatch(
        /\nRotation: rolling, failed; it is tried again\nROTATION_FAILED: .* unhealthy/,
      );
      await change(project, 'third');
      await allHave(project, 2, 'third');
    }, 240_000);

    test('that is killed half way is finished by the next agent', async () => {
      await change(project, 'fourth');
      await eventually(async () => expect(await containers(project)).toHaveLength(3), rotationMs);
      await environment.stopAgent('SIGKILL');
      await environment.startAgent();
      await allHave(project, 2, 'fourth');
    }, 240_000);

    test('is refused for a service that cannot run twice', async () => {
      const service = `${environmentOf('fixed')}    ports: ["127.0.0.1:18080:80"]\n`;
      await expect(up('fixed', service, '{strategy: rolling}')).rejects.toThrow(
        /cannot have the strategy rolling.*it publishes a port of the host/s,
      );
    });
  });

  test('signal: the application reads its new file, and goes on', async () => {
    const command = `["sh", "-c", "trap 'cat $$KEY' HUP; while :; do sleep 1; done"]`;
    const project = await up(
      'signalled',
      `    entrypoint: ${command}\n    stop_signal: SIGKILL\n    environment: {KEY: "dsofile://signalled/key"}\n`,
      '{strategy: signal}',
    );
    const { State } = await project.inspect('signalled-app-1');
    await change(project, 'second\n');
    await eventually(async () => {
      expect(await project.compose(['logs', 'app'])).toMatch(/\| second\n/);
    }, rotationMs);
    expect((await project.inspect('signalled-app-1')).State).toEqual(State);
    await eventually(async () =>
      expect(await statusOf(project)).toMatchObject({ rotation: { state: 'idle' } }),
    );
    expect((await project.compose(['logs', 'app'])).match(/second/g)).toHaveLength(1);
  }, 180_000);

  test('without rotation, a service is stale until a person restarts it', async () => {
    const project = await up('still', environmentOf('still'));
    const { State } = await project.inspect('still-app-1');
    await change(project, 'second');
    expect(await project.dsoOutput(['inspect', 'app'])).toMatch(
      /^Secret injection status: STALE since \d{4}-.*\n.* To use it: docker dso restart app\n/,
    );
    expect((await project.inspect('still-app-1')).State).toEqual(State);
    await project.dsoOutput(['restart', '-t', '0', 'app']);
    expect(await project.dsoOutput(['inspect', 'app'])).toMatch(
      /^Secret injection status: ACTIVE\n/,
    );
  }, 120_000);
});
