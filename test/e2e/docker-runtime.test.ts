import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Installation } from '../../src/docker/setup/installation.ts';
import { createRunProgram } from '../../src/docker/run-program.ts';
import { secretValue } from '../docker/secret-value.ts';
import { describeIfAvailable } from '../if-available.ts';
import { buildCompose, missingDockerDependencies, type Engine } from '../servers/docker/engine.ts';
import { findPlanted } from '../servers/docker/find-planted.ts';
import { testImages } from '../servers/docker/images.ts';
import {
  everythingShown,
  startDockerEnvironment,
  type DockerEnvironment,
  type Project,
} from './docker-environment.ts';

const missingDependencies = await missingDockerDependencies();

/** Waits until `check` returns something. */
async function eventually<T>(check: () => Promise<T | undefined>): Promise<T> {
  for (const deadline = Date.now() + 60_000; ; await sleep(100)) {
    const found = await check();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error('it did not happen');
  }
}

// The tests of a group build on each other.
describeIfAvailable(import.meta.filename, missingDependencies)('runtime: on', () => {
  const password = secretValue();
  const token = secretValue();
  const changed = secretValue();
  let environment: DockerEnvironment;
  let engine: Engine;
  let installation: Installation;
  let shop: Project;
  let marker: string;
  const app = 'shop-app-1';
  const worker = 'shop-worker-1';

  beforeAll(async () => {
    await buildCompose();
    environment = await startDockerEnvironment();
    ({ engine } = environment);
    await environment.put('my-app/database-password', password);
    await environment.put('my-app/token', token);
    marker = environment.path('marker');
    await writeFile(marker, '');
    // The host of this engine: where a host has these files.
    const root = environment.path('root');
    for (const path of ['etc', 'run']) await mkdir(join(root, path), { recursive: true });
    await symlink(engine.directory, join(root, 'etc/docker'));
    await symlink(join(engine.directory, 'dockerd.pid'), join(root, 'run/docker.pid'));
    installation = new Installation({
      ...{ root, hostRoot: root, run: createRunProgram(engine.env), node: '/usr/bin/env' },
      program: join(import.meta.dirname, '../../dist/docker-dso'),
    });
    shop = await environment.project('shop', {
      'dso.yaml': 'runtime: on\n',
      'compose.yaml': `
services:
  app:
    image: ${testImages.application}
    stop_signal: SIGKILL
    restart: always
    environment:
      - DB_HOST=postgres
      - DB_PASSWORD=dso://my-app/database-password
  worker:
    image: ${testImages.busybox}
    command: sh -c 'echo worker runs; exec stay'
    environment: {TOKEN: "dso://my-app/token", FILE: "dsofile://my-app/token"}
    healthcheck: {test: [CMD, /bin/sh, -c, '[ "$$TOKEN" = "$$(cat $$FILE)" ]'], interval: 1s}
  scratch:
    image: ${testImages.scratch}
    stop_signal: SIGKILL
    environment: {TOKEN: "dso://my-app/token"}
    init: true
    read_only: true
    user: "1000:1000"
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
  plain:
    image: ${testImages.busybox}
    command: stay
    runtime: dso
`,
    });
  }, 900_000);
  afterAll(() => environment.stop(), 120_000);

  // Engine 20.10 prints an error of the runtime to standard output.
  const execute = async (...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = await engine.docker(['exec', ...words]);
    if (code !== 0) throw new Error(`docker exec ${words.join(' ')}: ${stdout}${stderr}`);
    return stdout;
  };
  const healthy = (container: string): Promise<true> =>
    eventually(async () =>
      (await shop.inspect(container)).State.Health?.Status === 'healthy' ? true : undefined,
    );
  const environmentOf = async (container: string, pid = '1'): Promise<readonly string[]> =>
    (await execute(container, '/bin/cat', `/proc/${pid}/environ`)).split('\0');

  test('an engine without the runtime: nothing starts, and the error has the remedy', async () => {
    const { code, stderr } = await shop.dso(['up', '-d']);
    expect(code).toBe(1);
    expect(stderr).toContain('dso.yaml has runtime: on, and the engine has no runtime dso');
    expect(stderr).toContain('sudo docker dso system setup --runtime');
    expect(await engine.output(['ps', '--all', '--quiet'])).toBe('');
  });

  test('system setup --runtime registers it in the running engine', async () => {
    for (const step of await installation.steps('other', [], '', true))
      if (!(await step.isDone())) await step.apply();
    for (const step of await installation.steps('other', [], '', true))
      expect([step.title, await step.isDone()]).toEqual([step.title, true]);
    const { stdout } = await shop.dso(['system', 'doctor']);
    expect(stdout).toContain(`runtime ... OK (${installation.places.library}/dso-runtime)\n`);
    await shop.dsoOutput(['up', '-d']);
  }, 120_000);

  test('docker exec shows the value to every program, also by its absolute path', async () => {
    expect(await execute(app, '/bin/env')).toContain(`DB_PASSWORD=${password}\n`);
    expect(await execute(app, 'busybox', 'env')).toContain(`DB_PASSWORD=${password}\n`);
    expect(await execute('--user', 'nobody', app, 'env')).toContain(`DB_PASSWORD=${password}\n`);
    expect(await execute(app, 'env')).toContain('DB_HOST=postgres\n');
    expect(await execute('--tty', app, '/bin/env')).toContain(`DB_PASSWORD=${password}\r\n`);
    expect(await execute('shop-scratch-1', '/busybox', 'env')).toContain(`TOKEN=${token}\n`);
    expect(await shop.dsoOutput(['exec', '-T', 'worker', '/bin/sh', '-c', 'echo $TOKEN'])).toBe(
      `${token}\n`,
    );
  });

  test('the application is process 1, with the values and its own PATH', async () => {
    expect(await execute(app, 'cat', '/proc/1/cmdline')).toBe('sleep\x003600\x00');
    const variables = await environmentOf(app);
    expect(variables).toContain(`DB_PASSWORD=${password}`);
    expect(variables.join()).not.toContain('/run/dso/bin');
  });

  test('health checks of the image and of the service are unchanged, and have the values', async () => {
    await healthy(app);
    await healthy(worker);
  });

  test('no process of the container inherits the memory with the values', async () => {
    for (const pid of ['1', 'self'])
      expect(await execute('--user', 'root', app, 'ls', '-l', `/proc/${pid}/fd`)).not.toContain(
        'memfd',
      );
  });

  test('nothing that the engine shows has a value, a reference or a changed command', async () => {
    for (const container of [app, worker]) {
      const shown = await everythingShown(engine, container);
      for (const value of [password, token]) expect(shown).not.toContain(value);
    }
    const inspected = await engine.output(['inspect', app, worker]);
    expect(inspected).not.toMatch(/DB_PASSWORD|my-app|dso-shim|run\/dso\/bin/);
    expect(inspected).toContain('"Runtime": "dso"');
  });

  test('no file on disk has a value, also none of the exec root', async () => {
    const search = { newerThan: marker, directories: engine.roots };
    expect(await findPlanted([password, token], search)).toEqual([]);
  });

  test('a second up changes nothing', async () => {
    const { Id } = await shop.inspect(app);
    await shop.dsoOutput(['up', '-d']);
    expect((await shop.inspect(app)).Id).toBe(Id);
  });

  test('after a change the next exec has the new value, and process 1 the old one', async () => {
    await environment.put('my-app/database-password', changed);
    await shop.dsoOutput(['secret', 'refresh', 'my-app/database-password']);
    expect(await execute(app, '/bin/env')).toContain(`DB_PASSWORD=${changed}\n`);
    expect(await environmentOf(app)).toContain(`DB_PASSWORD=${password}`);
    await shop.dsoOutput(['restart', '-t', '0', 'app']);
    expect(await environmentOf(app)).toContain(`DB_PASSWORD=${changed}`);
  });

  test('the restart policy starts it again with the values', async () => {
    const { RestartCount } = await shop.inspect(app);
    await engine.output(['exec', '--user', 'root', app, 'kill', '-9', '1']).catch(() => '');
    const pid = (await engine.output(['inspect', '--format', '{{.State.Pid}}', app])).trim();
    if (pid !== '0') process.kill(Number(pid), 'SIGKILL');
    await eventually(async () => {
      const state = await shop.inspect(app);
      return state.RestartCount > RestartCount && state.State.Status === 'running'
        ? true
        : undefined;
    });
    expect(await execute(app, '/bin/env')).toContain(`DB_PASSWORD=${changed}\n`);
  });

  test('top, logs, pause, update, kill, stop and start work', async () => {
    expect(await engine.output(['top', app])).toContain('sleep 3600');
    expect(await engine.output(['logs', worker])).toBe('worker runs\n');
    await engine.output(['pause', worker]);
    expect((await shop.inspect(worker)).State.Status).toBe('paused');
    await engine.output(['unpause', worker]);
    await engine.output(['update', '--pids-limit', '50', worker]);
    await engine.output(['stop', worker]);
    expect((await shop.inspect(worker)).State).toMatchObject({ Status: 'exited', ExitCode: 0 });
    await engine.output(['start', worker]);
    await engine.output(['kill', worker]);
    await eventually(async () =>
      (await shop.inspect(worker)).State.ExitCode === 137 ? true : undefined,
    );
    await engine.output(['start', worker]);
    await healthy(worker);
  });

  test('docker dso run, also with another entrypoint', async () => {
    const run = ['run', '--rm', '-T'];
    expect(await shop.dsoOutput([...run, 'worker', '/bin/env'])).toContain(`TOKEN=${token}\n`);
    const entrypoint = ['--entrypoint', '/bin/env', 'worker'];
    expect(await shop.dsoOutput([...run, ...entrypoint])).toContain(`TOKEN=${token}\n`);
  });

  test('a container without secrets: all is as with runc, errors and exit codes too', async () => {
    expect(await execute('shop-plain-1', 'env')).not.toMatch(/TOKEN|PASSWORD/);
    const outcome = async (...args: string[]) => {
      const { code, stdout, stderr } = await engine.docker(args);
      return { code, stdout, stderr: stderr.replace(/[0-9a-f]{12,}/g, 'ID') };
    };
    const run = (runtime: string, ...words: string[]) =>
      outcome('run', '--rm', '--runtime', runtime, testImages.busybox, ...words);
    for (const words of [
      ['env', '-i', 'env'],
      ['sh', '-c', 'exit 7'],
      ['missing'],
      ['/etc/passwd'],
    ])
      expect(await run('dso', ...words)).toEqual(await run('runc', ...words));
    for (const words of [['sh', '-c', 'exit 7'], ['missing'], ['/etc/passwd']])
      expect((await outcome('exec', worker, ...words)).code).toBe(
        (await outcome('exec', 'shop-plain-1', ...words)).code,
      );
  }, 120_000);

  test('an agent that is killed: exec goes on, and a start fails with the cause', async () => {
    await environment.stopAgent('SIGKILL');
    expect(await execute(worker, '/bin/env')).toContain(`TOKEN=${token}\n`);
    await engine.output(['stop', '-t', '0', 'shop-scratch-1']);
    const { code, stderr } = await engine.docker(['start', 'shop-scratch-1']);
    await environment.startAgent();
    expect(code).toBe(1);
    expect(stderr).toMatch(/error while mounting volume .*dso_shop\.scratch/);
    await engine.output(['start', 'shop-scratch-1']);
    expect(await execute('shop-scratch-1', '/busybox', 'env')).toContain(`TOKEN=${token}\n`);
  }, 120_000);

  test('variables that are gone: the error of docker exec has the cause and the remedy', async () => {
    await rm(join(environment.volumes, 'dso_shop.scratch/env'));
    const failed = await engine.docker(['exec', 'shop-scratch-1', '/busybox', 'env']);
    expect(failed.code).not.toBe(0);
    // Engine 20.10 prints it to standard output.
    const printed = failed.stdout + failed.stderr;
    expect(printed).toContain('dso-runtime: the variables of the container cannot be read');
    expect(printed).toContain('docker dso up --force-recreate');
    await shop.dsoOutput(['up', '-d', '--force-recreate', '-t', '0', 'scratch']);
    expect(await execute('shop-scratch-1', '/busybox', 'env')).toContain(`TOKEN=${token}\n`);
  }, 60_000);

  test('live-restore: the containers go on without the engine, and the next one stops them', async () => {
    const runtimes = { dso: { path: join(installation.places.library, 'dso-runtime') } };
    await engine.configure({ runtimes, 'live-restore': true });
    await engine.stopEngine();
    await engine.startEngine();
    await shop.dsoOutput(['restart', '-t', '0', 'worker']);
    await engine.output(['run', '--detach', '--name', 'bare', testImages.busybox, 'stay']);
    const { StartedAt } = (await shop.inspect(worker)).State;
    await engine.stopEngine();
    await engine.startEngine();
    expect((await shop.inspect(worker)).State.StartedAt).toBe(StartedAt);
    // This engine has new mounts after its start, so that runc alone cannot exec either.
    const outcome = (container: string) => engine.docker(['exec', container, '/bin/env']);
    expect(await outcome(worker)).toEqual(await outcome('bare'));
    await engine.output(['stop', worker, 'bare']);
    expect((await shop.inspect(worker)).State).toMatchObject({ Status: 'exited', ExitCode: 0 });
    await engine.output(['start', worker]);
    expect(await execute(worker, '/bin/env')).toContain(`TOKEN=${token}\n`);
  }, 180_000);

  test('a service with a runtime of its own is refused', async () => {
    const other = await environment.project('other', {
      'dso.yaml': 'runtime: on\n',
      'compose.yaml': `
services:
  app:
    image: ${testImages.busybox}
    runtime: runc
    environment: {TOKEN: "dso://my-app/token"}
`,
    });
    const { code, stderr } = await other.dso(['up', '-d']);
    expect(code).toBe(1);
    expect(stderr).toContain('service app has the runtime runc');
  });

  test('system uninstall refuses while containers need it, and takes it back afterwards', async () => {
    const [registration] = installation.removals();
    await expect(registration?.remove()).rejects.toThrow(
      /containers use the runtime dso: .*shop-app-1/,
    );
    await shop.dsoOutput(['down', '-t', '0']);
    const directories = [environment.volumes, ...engine.roots];
    expect(
      await findPlanted([password, token, changed], { directories, newerThan: marker }),
    ).toEqual([]);
    expect(await registration?.remove()).toBe(true);
    await eventually(async () =>
      (await engine.output(['info', '--format', '{{json .Runtimes}}'])).includes('"dso"')
        ? undefined
        : true,
    );
    await shop.dso(['down']);
  }, 120_000);
});
