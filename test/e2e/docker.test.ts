import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { secretValue } from '../docker/secret-value.ts';
import { describeIfAvailable } from '../if-available.ts';
import { buildCompose, missingDockerDependencies, type Engine } from '../servers/docker/engine.ts';
import { findPlanted } from '../servers/docker/find-planted.ts';
import { testImages } from '../servers/docker/images.ts';
import { runProgram } from '../servers/docker/run-program.ts';
import {
  containerOf,
  everythingShown,
  startDockerEnvironment,
  type DockerEnvironment,
  type Project,
} from './docker-environment.ts';

const missingDependencies = await missingDockerDependencies();

/** The containers, images, networks and volumes of an engine. */
async function everythingOf({ output }: Engine): Promise<string> {
  const kinds = ['container', 'image', 'network', 'volume'];
  const lists = kinds.map((kind) =>
    output([kind, 'ls', '--quiet', ...(kind === 'container' ? ['--all'] : [])]),
  );
  return (await Promise.all(lists)).flatMap((list) => list.split('\n').sort()).join(' ');
}

/** Waits until `check` returns something. */
async function eventually<T>(check: () => Promise<T | undefined>, timeoutMs = 60_000): Promise<T> {
  for (const deadline = Date.now() + timeoutMs; ; await sleep(100)) {
    const found = await check();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error('it did not happen');
  }
}

describeIfAvailable(import.meta.filename, missingDependencies)('docker dso', () => {
  let environment: DockerEnvironment;
  let engine: Engine;
  const started: Project[] = [];

  beforeAll(async () => {
    // Building it takes minutes on a new machine.
    await buildCompose();
    environment = await startDockerEnvironment();
    ({ engine } = environment);
  }, 900_000);
  afterAll(() => environment.stop(), 120_000);

  /** A project that is taken down at the end of the test, or of the group. */
  async function project(name: string, files: Readonly<Record<string, string>>): Promise<Project> {
    const made = await environment.project(name, files);
    started.push(made);
    return made;
  }
  async function takeDown(): Promise<void> {
    for (const { compose } of started.splice(0)) await compose(['down', '-t', '0']);
    // Compose does not know them. If they stay, a later engine waits for their agent at its start.
    const volumes = await engine.output(['volume', 'ls', '--quiet', '--filter', 'driver=dso']);
    for (const name of volumes.split('\n').filter((each) => each !== ''))
      await engine.output(['volume', 'rm', name]);
  }

  const execute = (container: string, ...command: string[]): Promise<string> =>
    engine.output(['exec', container, ...command]);

  /** Waits until its health check has passed. */
  const healthy = (owner: Project, container: string): Promise<true> =>
    eventually(async () => {
      const { State } = await owner.inspect(container);
      return State.Health?.Status === 'healthy' ? true : undefined;
    });

  describe('the engine alone', () => {
    afterEach(takeDown);

    test('runs a plain Compose application, with networks and names', async () => {
      const plain = await project('plain', {
        'compose.yaml': `
services:
  app:
    image: ${testImages.busybox}
    command: stay
    environment: {GREETING: hello}
  peer:
    image: ${testImages.busybox}
    command: stay
`,
      });
      await plain.compose(['up', '-d']);
      expect(await execute(containerOf(plain, 'app'), 'env')).toContain('GREETING=hello\n');
      expect(await execute(containerOf(plain, 'app'), 'ping', '-c1', 'peer')).toContain(
        '1 packets',
      );
    });
  });

  describe('an application as in the guides', () => {
    const password = secretValue();
    const key = secretValue();
    const certificate = secretValue();
    let shop: Project;
    const app = 'shop-app-1';
    let marker: string;

    beforeAll(async () => {
      await environment.put('my-app/database-password', password);
      await environment.put('my-app/config', JSON.stringify({ api_key: key }));
      await environment.put('my-app/tls', certificate);
      shop = await project('shop', {
        'docker-compose.yaml': `
services:
  app:
    image: ${testImages.application}
    stop_signal: SIGKILL
    environment:
      - DB_HOST=postgres
      - DB_PASSWORD=dso://my-app/database-password
  worker:
    image: ${testImages.busybox}
    command: sh -c 'echo worker runs; exec stay'
    environment:
      API_KEY: dso://my-app/config#api_key
      CERTIFICATE: dsofile://my-app/tls
`,
      });
      marker = join(shop.directory, 'marker');
      await writeFile(marker, '');
      await shop.dsoOutput(['up', '-d']);
    }, 120_000);
    afterAll(takeDown, 60_000);

    test('docker exec shows the value', async () => {
      expect(await execute(app, 'env')).toContain(`\nDB_PASSWORD=${password}\n`);
      expect(await execute(app, 'env')).toContain('DB_HOST=postgres\n');
      expect(await execute(app, 'sh', '-c', 'echo "$DB_PASSWORD"')).toBe(`${password}\n`);
      expect(await shop.dsoOutput(['exec', '-T', 'app', 'printenv', 'DB_PASSWORD'])).toBe(
        `${password}\n`,
      );
      const worker = containerOf(shop, 'worker');
      expect(await execute(worker, 'env')).toContain(`API_KEY=${key}\n`);
      expect(await execute(worker, 'sh', '-c', 'cat "$CERTIFICATE"')).toBe(certificate);
    });

    test('dso exec shows the value to any program, by name and by absolute path', async () => {
      const print = 'BEGIN {print ENVIRON["API_KEY"]}';
      for (const awk of ['awk', '/bin/awk']) {
        expect(await shop.dsoOutput(['exec', '-T', 'worker', awk, print])).toBe(`${key}\n`);
        // The shim does not stand in for it.
        expect(await execute(containerOf(shop, 'worker'), awk, print)).toBe('\n');
      }
      const program = 'read line; echo "$line $OWN"; id -u; pwd; exit 7';
      const flags = ['-T', '-u', '1000', '-w', '/tmp', '-e', 'OWN=x'];
      const finished = await shop.dso(['exec', ...flags, 'worker', 'sh', '-c', program], {
        input: 'typed\n',
      });
      expect(finished).toMatchObject({ code: 7, stdout: 'typed x\n1000\n/tmp\n' });
    });

    test('the application is process 1, with its own arguments and the values', async () => {
      expect(await execute(app, 'cat', '/proc/1/cmdline')).toBe('sleep\x003600\x00');
      expect(await execute(app, 'cat', '/tmp/started')).toBe('arguments: sleep 3600\n');
      const variables = (await execute(app, 'cat', '/proc/1/environ')).split('\0');
      expect(variables).toContain(`DB_PASSWORD=${password}`);
      // The directory of the shim is not in it.
      expect(variables.find((entry) => entry.startsWith('PATH='))).not.toContain('dso');
    });

    test('the health check of the image has the values', async () => {
      await healthy(shop, app);
    });

    test('nothing that the engine shows or writes has a value', async () => {
      for (const service of ['app', 'worker']) {
        const shown = await everythingShown(engine, containerOf(shop, service));
        for (const value of [password, key, certificate]) expect(shown).not.toContain(value);
      }
      const inspected = await engine.output(['inspect', app, containerOf(shop, 'worker')]);
      expect(inspected).not.toMatch(/DB_PASSWORD|API_KEY|CERTIFICATE|my-app/);
      expect(await engine.docker(['logs', containerOf(shop, 'worker')])).toMatchObject({
        stdout: 'worker runs\n',
      });
    });

    test('no file on disk has a value', async () => {
      const values = [password, key, certificate];
      const search = { newerThan: marker, directories: engine.roots };
      expect(await findPlanted(values, search)).toEqual([]);
      expect(environment.agentLog()).not.toMatch(new RegExp(values.join('|')));
      // The search finds what is there.
      const planted = join(shop.directory, 'planted');
      await writeFile(planted, `x${Buffer.from(`ab${key}`).toString('base64')}`);
      expect(await findPlanted(values, search)).toEqual([planted]);
    });

    test('dso inspect shows names, sources, versions and times', async () => {
      const shown = await shop.dsoOutput(['inspect', 'app']);
      expect(shown).toContain('Secret injection status: ACTIVE');
      expect(shown).toMatch(/DB_PASSWORD +dso:\/\/local\/my-app\/database-password +local +v1 +20/);
      expect(shown).not.toContain(password);
    });

    test('dso logs --agent and dso secret watch show what happened', async () => {
      const delivered = /INFO {2}delivered project=shop service=app .*my-app\/database-password/;
      const log = await shop.dsoOutput(['logs', '--agent', '--since', '10m']);
      expect(log).toMatch(delivered);
      expect(log).not.toContain(password);
      expect((await shop.dsoOutput(['logs', '--agent', '--tail', '1'])).split('\n')).toHaveLength(
        2,
      );
      const watch = 'docker dso secret watch --since 10m app';
      const { stdout } = await runProgram(
        'sh',
        [
          '-c',
          `${watch} >shown & until grep -q started shown; do sleep 0.1; done; kill $!; wait $!; cat shown`,
        ],
        {
          cwd: shop.directory,
          env: { ...engine.env, DSO_AGENT_SOCKET: environment.path('agent.sock') },
        },
      );
      const [first, started, ...more] = stdout.split('\n');
      expect(first).toMatch(/^20\S+ \S+Z {2}app {2}delivered; .*DB_PASSWORD v1$/);
      expect(started).toMatch(/ a container of the service has started; container: shop-app-1; /);
      expect(more).toEqual(['']);
    });

    test('a second up changes nothing', async () => {
      const states = (): Promise<unknown> =>
        Promise.all(
          ['app', 'worker'].map(async (service) => {
            const { Id, State } = await shop.inspect(containerOf(shop, service));
            return [Id, State.StartedAt];
          }),
        );
      const before = await states();
      await shop.dsoOutput(['up', '-d']);
      expect(await states()).toEqual(before);
    });

    test('the commands of Compose work with the project, plain and through the plugin', async () => {
      for (const run of [shop.compose, shop.dsoOutput]) {
        expect(await run(['ps', '--format', '{{.Name}}'])).toBe('shop-app-1\nshop-worker-1\n');
        expect(await run(['logs', '--no-log-prefix', 'worker'])).toBe('worker runs\n');
      }
      const { StartedAt } = (await shop.inspect(app)).State;
      await shop.dsoOutput(['restart', '-t', '0', 'app']);
      expect((await shop.inspect(app)).State.StartedAt).not.toBe(StartedAt);
      expect(await execute(app, 'env')).toContain(`DB_PASSWORD=${password}\n`);
    });

    test('down removes the containers, and the values from memory', async () => {
      await shop.dsoOutput(['down', '-t', '0']);
      expect(await engine.output(['ps', '--all', '--quiet'])).toBe('');
      expect(await engine.output(['volume', 'ls', '--quiet'])).not.toContain(shop.name);
      const directories = [environment.volumes, ...engine.roots];
      expect(await findPlanted([password, key, certificate], { directories })).toEqual([]);
    });
  });

  describe('dso diff and plan', () => {
    afterAll(takeDown, 60_000);

    test('show what up changes before it, and nothing afterwards', async () => {
      for (const name of ['diff/one', 'diff/two']) await environment.put(name, secretValue());
      const file = (path: string): string => `
services:
  app:
    image: ${testImages.busybox}
    command: stay
    environment: {KEY: "dso://${path}"}
`;
      const compared = await project('compared', { 'compose.yaml': file('diff/one') });
      const same = { code: 0, stdout: expect.stringMatching(/^No differences: /) };
      expect(await compared.dso(['diff'])).toMatchObject({
        ...{ code: 1, stderr: '' },
        stdout: 'app: a container is made\n  + KEY   dso://local/diff/one\n',
      });
      await compared.dsoOutput(['up', '-d']);
      expect(await compared.dso(['diff'])).toMatchObject(same);

      await compared.write('compose.yaml', file('diff/two'));
      const changed =
        'app: its containers are made again\n  ~ KEY   dso://local/diff/one -> dso://local/diff/two\n';
      expect(await compared.dso(['diff'])).toMatchObject({ code: 1, stdout: changed });
      const { Id } = await compared.inspect(containerOf(compared, 'app'));
      const plan = await compared.dso(['plan']);
      expect(plan).toMatchObject({ code: 0, stdout: expect.stringContaining(changed) });
      expect(plan.stderr).toMatch(/DRY-RUN MODE .*compared-app-1 +Recreate/);
      expect((await compared.inspect(containerOf(compared, 'app'))).Id).toBe(Id);
      await compared.dsoOutput(['up', '-d']);
      expect(await compared.dso(['diff'])).toMatchObject(same);

      await engine.output(['stop', '-t', '0', containerOf(compared, 'app')]);
      expect((await compared.dso(['diff'])).stdout).toBe(
        'app: its containers start, and get the current values\n',
      );
    }, 60_000);
  });

  describe('services of every kind', () => {
    const token = secretValue();
    let kinds: Project;

    beforeAll(async () => {
      await environment.put('my-app/token', token);
      kinds = await project('kinds', {
        'base.yaml': `
services:
  base:
    image: ${testImages.busybox}
    command: stay
    environment: {TOKEN: "dso://my-app/token"}
`,
        'app.env': 'TOKEN=dso://my-app/token\n',
        'compose.yaml': `
x-secrets: &secrets {TOKEN: "dso://my-app/token"}
services:
  scratch:
    image: ${testImages.scratch}
    stop_signal: SIGKILL
    environment: *secrets
    read_only: true
    user: "1000:1000"
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
  initial:
    image: ${testImages.busybox}
    init: true
    command: stay
    environment: *secrets
  many:
    image: ${testImages.busybox}
    command: stay
    environment: *secrets
    deploy: {replicas: 2}
    healthcheck: {test: '[ -n "$$TOKEN" ]', interval: 1s}
  from-file:
    image: ${testImages.busybox}
    command: stay
    env_file: app.env
  extended:
    extends: {file: base.yaml, service: base}
  debug:
    profiles: [debug]
    image: ${testImages.busybox}
    command: stay
    environment: *secrets
  plain:
    image: ${testImages.busybox}
    command: stay
`,
      });
      await kinds.dsoOutput(['up', '-d']);
    }, 120_000);
    afterAll(takeDown, 60_000);

    const variable = `TOKEN=${token}`;
    const environmentOf = async (service: string, number = 1, ...flags: string[]) =>
      (await engine.output(['exec', ...flags, containerOf(kinds, service, number), 'env'])).split(
        '\n',
      );

    test('an image from scratch, read-only, without root, capabilities and new privileges', async () => {
      expect(await environmentOf('scratch')).toContain(variable);
      const container = containerOf(kinds, 'scratch');
      const own = await execute(container, '/busybox', 'cat', '/proc/1/environ');
      expect(own.split('\0')).toContain(variable);
      expect(await execute(container, '/busybox', 'cat', '/proc/1/cmdline')).toBe(
        '/busybox\0sleep\x003600\0',
      );
    });

    test('dso exec in an image from scratch, and in one of several containers', async () => {
      const program = ['/busybox', 'env'];
      expect((await kinds.dsoOutput(['exec', '-T', 'scratch', ...program])).split('\n')).toContain(
        variable,
      );
      const name = await kinds.dsoOutput(['exec', '-T', '--index', '2', 'many', '/bin/hostname']);
      const { Id } = await kinds.inspect(containerOf(kinds, 'many', 2));
      expect(Id.startsWith(name.trim())).toBe(true);
    });

    test('init', async () => {
      expect(await environmentOf('initial')).toContain(variable);
    });

    test('two replicas, with a health check of the file', async () => {
      for (const number of [1, 2]) {
        expect(await environmentOf('many', number)).toContain(variable);
        await healthy(kinds, containerOf(kinds, 'many', number));
      }
    });

    test('one of two replicas ends, and the other keeps its values', async () => {
      await engine.output(['rm', '--force', containerOf(kinds, 'many', 2)]);
      expect(await environmentOf('many', 1)).toContain(variable);
    });

    test('env_file and extends', async () => {
      expect(await environmentOf('from-file')).toContain(variable);
      expect(await environmentOf('extended')).toContain(variable);
    });

    test('another user of the container', async () => {
      expect(await environmentOf('from-file', 1, '--user', 'nobody')).toContain(variable);
    });

    test('a service without references has nothing of this', async () => {
      const inspected = await engine.output(['inspect', containerOf(kinds, 'plain')]);
      expect(inspected).not.toContain('dso');
    });

    test('a profile', async () => {
      const { code } = await engine.docker(['inspect', containerOf(kinds, 'debug')]);
      expect(code).not.toBe(0);
      await kinds.dsoOutput(['--profile', 'debug', 'up', '-d']);
      expect(await environmentOf('debug')).toContain(variable);
      await kinds.dsoOutput(['--profile', 'debug', 'rm', '--force', '--stop', 'debug']);
    });

    test('run --rm, with the input of the user', async () => {
      const run = ['run', '--rm', '-T', 'from-file'];
      expect(await kinds.dsoOutput([...run, 'printenv', 'TOKEN'])).toBe(`${token}\n`);
      const script = 'read line; echo "$line $TOKEN"';
      expect(await kinds.dsoOutput([...run, 'sh', '-c', script], { input: 'typed\n' })).toBe(
        `typed ${token}\n`,
      );
      expect((await kinds.dso([...run, 'sh', '-c', 'exit 7'])).code).toBe(7);
    });

    test('the global flags of docker', async () => {
      const { DOCKER_HOST = '' } = engine.env;
      const ps = await engine.docker(['--host', DOCKER_HOST, 'dso', 'ps', '--services'], {
        cwd: kinds.directory,
        env: { DOCKER_HOST: 'unix:///nowhere' },
      });
      expect(ps).toMatchObject({ code: 0, stdout: expect.stringContaining('scratch') });
    });
  });

  describe('a secret that is absent', () => {
    afterAll(takeDown, 60_000);

    test('keeps the container from starting, and the error says why', async () => {
      const late = await project('late', {
        'compose.yaml': `
services:
  app:
    image: ${testImages.busybox}
    command: stay
    environment: {LATE: "dso://my-app/late"}
`,
      });
      const failed = await late.dso(['up', '-d']);
      expect(failed.code).not.toBe(0);
      expect(failed.stderr).toMatch(/my-app\/late/);
      expect((await late.inspect('late-app-1')).State).toMatchObject({
        Status: 'created',
        Error: expect.stringContaining('my-app/late'),
      });
      expect(await late.dsoOutput(['inspect', 'app'])).toContain('Secret injection status: FAILED');

      await environment.put('my-app/late', 'here now');
      await late.dsoOutput(['up', '-d']);
      expect(await execute('late-app-1', 'env')).toContain('LATE=here now\n');
    });
  });

  describe('restarts', () => {
    const first = secretValue();
    const second = secretValue();
    let shop: Project;
    const app = 'restarts-app-1';

    beforeAll(async () => {
      await environment.put('restarts/key', first);
      shop = await project('restarts', {
        'compose.yaml': `
services:
  app:
    image: ${testImages.busybox}
    command: stay
    restart: always
    environment: {KEY: "dso://restarts/key"}
`,
      });
      await shop.dsoOutput(['up', '-d']);
    }, 60_000);
    afterAll(takeDown, 60_000);

    const key = async (): Promise<string> => (await execute(app, 'printenv', 'KEY')).trim();
    /** The value after the container has started, by itself, later than before. */
    const keyAfterStart = (before: string, timeoutMs = 60_000): Promise<string> =>
      eventually(async () => {
        const { Status, StartedAt } = (await shop.inspect(app)).State;
        return Status === 'running' && StartedAt !== before ? await key() : undefined;
      }, timeoutMs);
    const startedAt = async (): Promise<string> => (await shop.inspect(app)).State.StartedAt;

    test.each(['SIGTERM', 'SIGKILL'] as const)(
      'of the agent, by %s: the container keeps its values and gets new ones',
      async (signal) => {
        const before = await startedAt();
        await environment.stopAgent(signal);
        expect(await key()).toBe(first);
        await environment.startAgent();
        expect(await key()).toBe(first);
        expect(await startedAt()).toBe(before);
        await engine.output(['restart', '-t', '0', app]);
        expect(await key()).toBe(first);
        expect(await shop.dsoOutput(['inspect', 'app'])).toContain(': ACTIVE');
      },
    );

    test('of the engine: the container comes back with the current value', async () => {
      const before = await startedAt();
      await environment.put('restarts/key', second);
      await engine.stopEngine();
      await engine.startEngine();
      expect(await keyAfterStart(before)).toBe(second);
    });

    test('of the machine, with the agent first', async () => {
      const before = await startedAt();
      await environment.losePower();
      await environment.startAgent();
      await engine.startEngine();
      expect(await keyAfterStart(before)).toBe(second);
    });

    describe('of the machine, with the agent last', () => {
      let before: string;
      beforeAll(async () => {
        before = await startedAt();
        await environment.losePower();
        // It waits 15 s for the agent of each volume that it knows.
        await engine.startEngine();
        await environment.startAgent();
      }, 180_000);

      test('the agent starts what failed because of it', async () => {
        expect(await keyAfterStart(before, 15_000)).toBe(second);
      });
    });
  });

  // The last one: afterwards the engine waits for the demo's driver whenever it lists volumes.
  test('the demo shows it, and removes what it made', async () => {
    const { bundle } = environment;
    const before = await everythingOf(engine);
    const [program = '', ...args] = engine.inMountNamespace(
      ...[process.execPath, bundle, 'demo', '--docker'],
    );
    const { code, stdout, stderr } = await runProgram(program, args, { env: engine.env });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('Secret injection status: ACTIVE');
    expect(stdout).toMatch(/\nDone: [^\n]+\n/);
    expect(await everythingOf(engine)).toBe(before);
  }, 120_000);
});
