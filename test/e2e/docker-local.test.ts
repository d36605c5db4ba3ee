import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { chmod, chown, copyFile, cp, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { builtPlugin } from '../driver/bundle.ts';
import { secretValue } from '../docker/secret-value.ts';
import { describeIfAvailable } from '../if-available.ts';
import {
  type Engine,
  buildCompose,
  missingDockerDependencies,
  startEngine,
} from '../servers/docker/engine.ts';
import { findPlanted } from '../servers/docker/find-planted.ts';
import { importTestImages, testImages } from '../servers/docker/images.ts';
import { type Finished, runProgram } from '../servers/docker/run-program.ts';
import { everythingShown } from './docker-environment.ts';

const repository = join(import.meta.dirname, '../..');
/** Not that of an image, so that nothing works only because they are equal. */
const userId = 2345;

describeIfAvailable(import.meta.filename, await missingDockerDependencies())(
  'docker dso --mode local',
  () => {
    const [password, key, certificate] = [secretValue(), secretValue(), secretValue()];
    let engine: Engine;
    let directory: string;
    let runtime: string;
    let marker: string;

    beforeAll(async () => {
      await buildCompose();
      const plugin = await builtPlugin();
      const made = await runProgram('make', ['--no-print-directory', 'shim'], {
        cwd: repository,
        env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '/root' },
      });
      if (made.code !== 0) throw new Error(`the shim cannot be built:\n${made.stderr}`);
      engine = await startEngine();
      await importTestImages(engine);
      // A user of the machine who may use the engine, and has nothing of root.
      directory = join(engine.directory, 'user');
      runtime = join(directory, 'run');
      for (const path of ['run', 'bin', 'release/shim', 'config/cli-plugins', 'home', 'shop'])
        await mkdir(join(directory, path), { recursive: true });
      await copyFile(process.execPath, join(directory, 'bin/node'));
      const dist = dirname(plugin);
      await cp(join(dist, 'shim'), join(directory, 'release/shim'), { recursive: true });
      for (const name of ['docker-dso', 'keyferry.js'])
        await copyFile(join(dist, name), join(directory, 'release', name));
      execFileSync('ln', [
        ...['-s', join(directory, 'release/docker-dso')],
        join(directory, 'config/cli-plugins/docker-dso'),
      ]);
      await copyFile(await buildCompose(), join(directory, 'config/cli-plugins/docker-compose'));
      execFileSync('chown', ['-R', `${userId}:${userId}`, directory]);
      const options = `mode=0700,uid=${userId},gid=${userId},nosuid,nodev`;
      execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'run', runtime]);
      await chmod(engine.directory, 0o755);
      await chmod(join(engine.directory, 'docker.sock'), 0o666);
      marker = join(directory, 'marker');
      await writeFile(marker, '');
    }, 900_000);
    afterAll(() => engine.stop(), 120_000);

    /** Runs a program as the user. */
    function run(
      program: string,
      args: readonly string[],
      { env = {}, input }: { env?: Readonly<Record<string, string>>; input?: string } = {},
    ): Promise<Finished> {
      const ids = [`--reuid=${userId}`, `--regid=${userId}`, '--clear-groups'];
      return runProgram('setpriv', [...ids, program, ...args], {
        cwd: join(directory, 'shop'),
        env: {
          ...engine.env,
          PATH: `${join(directory, 'bin')}:${process.env.PATH ?? ''}`,
          HOME: join(directory, 'home'),
          DOCKER_CONFIG: join(directory, 'config'),
          XDG_RUNTIME_DIR: runtime,
          ...env,
        },
        ...(input !== undefined && { input }),
      });
    }
    const dso = (line: string, env: Readonly<Record<string, string>> = {}): Promise<Finished> =>
      run('docker', ['dso', ...line.split(' ')], { env });
    async function dsoOutput(line: string): Promise<string> {
      const { code, stdout, stderr } = await dso(line);
      if (code !== 0) throw new Error(`docker dso ${line} failed (${code}):\n${stderr}`);
      return stdout;
    }
    async function put(name: string, text: string): Promise<void> {
      const data = join(directory, 'home/.local/share/keyferry/store');
      const keys = ['--store', `${data}.age`, '--key', `${data}.key`];
      const program = join(directory, 'release/keyferry.js');
      const args = [program, 'local', ...keys, 'set', name];
      const { code, stderr } = await run('node', args, { input: text });
      if (code !== 0) throw new Error(stderr);
    }
    async function compose(text: string): Promise<void> {
      const path = join(directory, 'shop/compose.yaml');
      await writeFile(path, text);
      await chown(path, userId, userId);
    }
    const execute = (container: string, ...command: string[]): Promise<string> =>
      engine.output(['exec', container, ...command]);
    const states = (): Promise<string> =>
      engine.output([
        ...['inspect', '--format', '{{.Id}} {{.State.StartedAt}}'],
        ...['shop-app-1', 'shop-worker-1', 'shop-scratch-1'],
      ]);

    const application = `
services:
  app:
    image: ${testImages.application}
    stop_signal: SIGKILL
    environment:
      - DB_HOST=postgres
      - DB_PASSWORD=dso://my-app/database-password
  worker:
    image: ${testImages.busybox}
    command: stay
    cap_drop: [ALL]
    environment:
      API_KEY: dso://my-app/config#api_key
      CERTIFICATE: dsofile://my-app/tls
  scratch:
    image: ${testImages.scratch}
    stop_signal: SIGKILL
    user: "1000:1000"
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    environment: {TOKEN: "dso://my-app/config#api_key"}
`;

    test('init makes the configuration and the store of the user', async () => {
      const printed = await dsoOutput('init --mode local');
      const file = join(directory, 'home/.config/dso/dso.yaml');
      expect(printed).toContain(`config      ${file} (new)\n`);
      expect(printed).toContain('next        docker dso --mode local up -d\n');
      expect((await stat(file)).mode & 0o777).toBe(0o600);
      await put('my-app/database-password', password);
      await put('my-app/config', JSON.stringify({ api_key: key }));
      await put('my-app/tls', certificate);
      const info = await dsoOutput('--mode local system info');
      expect(info).toContain('Mode: Local\nProvider: Local Store\n');
      expect(info).toContain('Agent: none (--mode local)\n');
    });

    test('without a mode, the error names it', async () => {
      await compose(application);
      const { code, stderr } = await dso('up -d', { DSO_AGENT_SOCKET: '/nowhere/agent.sock' });
      expect(code).toBe(1);
      expect(stderr).toMatch(/the agent of docker dso does not run: .* --mode local/);
      expect(await engine.output(['ps', '--all', '--quiet'])).toBe('');
    });

    test('a secret that cannot be read keeps everything from starting', async () => {
      await compose(`${application}  broken:
    image: ${testImages.busybox}
    command: stay
    environment: {A: "dso://my-app/absent"}
`);
      const { code, stderr } = await dso('--mode local up -d');
      expect(code).toBe(1);
      expect(stderr).toMatch(/docker dso: service broken does not start: .*my-app\/absent/);
      expect(await engine.output(['ps', '--all', '--quiet'])).toBe('');
      const volumes = join(runtime, 'dso/volumes');
      expect(await readdir(volumes)).toEqual([]);
      await compose(application);
    });

    test('up starts the services with their values', async () => {
      const { code, stderr } = await dso('--mode local up -d');
      expect({ code, stderr }).toMatchObject({ code: 0 });
      expect(stderr).toContain('docker dso: local mode, without an agent: ');
      expect(await execute('shop-app-1', 'env')).toContain(`\nDB_PASSWORD=${password}\n`);
      expect(await execute('shop-worker-1', 'env')).toContain(`API_KEY=${key}\n`);
      expect(await execute('shop-worker-1', 'sh', '-c', 'cat "$CERTIFICATE"')).toBe(certificate);
      const { stdout } = await engine.docker(['exec', 'shop-scratch-1', 'env']);
      expect(stdout).toContain(`TOKEN=${key}\n`);
      const environ = await execute('shop-app-1', 'cat', '/proc/1/environ');
      expect(environ.split('\0')).toContain(`DB_PASSWORD=${password}`);
    });

    test('nothing that the engine shows or writes has a value, and no file on disk', async () => {
      const values = [password, key, certificate];
      for (const container of ['shop-app-1', 'shop-worker-1']) {
        const shown = await everythingShown(engine, container);
        for (const value of values) expect(shown).not.toContain(value);
      }
      const inspected = await engine.output(['inspect', 'shop-app-1', 'shop-worker-1']);
      expect(inspected).not.toMatch(/DB_PASSWORD|API_KEY|CERTIFICATE|my-app/);
      const search = { newerThan: marker, directories: engine.roots };
      expect(await findPlanted(values, search)).toEqual([]);
      // The search finds them where they are.
      const found = await findPlanted(values, { directories: [runtime] });
      expect(found.length).toBeGreaterThan(0);
    }, 240_000);

    test('only the user can enter the directory of the values', async () => {
      const { mode, uid } = await stat(join(runtime, 'dso'));
      expect({ mode: mode & 0o777, uid }).toEqual({ mode: 0o700, uid: userId });
    });

    test('inspect tells the mode, also without --mode', async () => {
      const shown = await dsoOutput('inspect worker');
      expect(shown).toMatch(/^Secret injection status: ACTIVE\n/);
      expect(shown).toContain('Mode: local, without an agent. Nothing rotates these secrets');
      expect(shown).toMatch(/API_KEY +dso:\/\/local\/my-app\/config#api_key +local +v1 +20/);
      expect(shown).not.toContain(key);
      expect(JSON.parse(await dsoOutput('inspect app --format json'))).toMatchObject({
        ...{ mode: 'local', status: 'ACTIVE', containers: 1 },
      });
    });

    test('a second up changes nothing', async () => {
      const before = [
        await states(),
        await readdir(join(runtime, 'dso/volumes/dsofiles_shop.worker')),
      ];
      await dsoOutput('--mode local up -d');
      expect([
        await states(),
        await readdir(join(runtime, 'dso/volumes/dsofiles_shop.worker')),
      ]).toEqual(before);
    });

    test('exec, diff and ps need no agent', async () => {
      expect(await dsoOutput('exec -T scratch /busybox env')).toContain(`TOKEN=${key}\n`);
      expect(await dsoOutput('--mode local diff')).toMatch(/^No differences: /);
      expect(await dso('--mode local ps -q')).toMatchObject({ code: 0, stderr: '' });
    });

    test('a changed value comes with up, and into the variables with a restart', async () => {
      const next = secretValue();
      await put('my-app/database-password', next);
      expect(await dsoOutput('inspect app')).toContain('status: ACTIVE');
      const before = await states();
      await dsoOutput('--mode local up -d');
      expect(await states()).toBe(before);
      expect(await execute('shop-app-1', 'env')).toContain(`DB_PASSWORD=${next}\n`);
      expect(await dsoOutput('inspect app')).toContain('status: STALE');
      expect(await dsoOutput('inspect worker')).toContain('status: ACTIVE');
      await dsoOutput('restart -t 0 app');
      const environ = await execute('shop-app-1', 'cat', '/proc/1/environ');
      expect(environ.split('\0')).toContain(`DB_PASSWORD=${next}`);
      expect(await dsoOutput('inspect app')).toContain('status: ACTIVE');
    });

    test('secret refresh reads a secret again', async () => {
      await put('my-app/tls', 'another certificate');
      const printed = await dsoOutput('--mode local secret refresh my-app/tls');
      expect(printed).toContain('shop/worker');
      expect(await execute('shop-worker-1', 'sh', '-c', 'cat "$CERTIFICATE"')).toBe(
        'another certificate',
      );
      const listed = await dsoOutput('--mode local secret list');
      expect(listed).toMatch(/my-app\/tls +v2 .* shop\/worker\n/);
    });

    test('after a restart of the machine a container says why, and up starts it', async () => {
      await engine.output(['kill', 'shop-app-1']);
      await rm(join(runtime, 'dso'), { recursive: true });
      const { code, stderr } = await engine.docker(['start', 'shop-app-1']);
      expect(code).not.toBe(0);
      expect(stderr).toContain(
        `bind source path does not exist: ${runtime}/dso/volumes/dso_shop.app`,
      );
      const shown = await dsoOutput('inspect app');
      expect(shown).toMatch(/^Secret injection status: FAILED\n/);
      expect(shown).toContain('is gone after a logout or a restart of the machine');
      expect(shown).toContain('docker dso --mode local up -d');
      await dsoOutput('--mode local up -d');
      expect(await dsoOutput('inspect app')).toContain('status: ACTIVE');
    });

    test('doctor checks what local mode needs', async () => {
      const { stdout } = await dso('--mode local system doctor');
      expect(stdout).toMatch(/^local \.\.\. OK\n/);
      expect(stdout).toContain('mode ... OK (local, without an agent)\n');
      expect(stdout).toContain('engine place ... OK (this machine)\n');
      expect(stdout).toContain(`tmpfs ... OK (${runtime}/dso/volumes)\n`);
    });

    test('run starts a container with the values', async () => {
      expect(await dsoOutput('--mode local run --rm -T worker printenv API_KEY')).toBe(`${key}\n`);
    });

    test('down removes the values', async () => {
      await dsoOutput('down -t 0');
      expect(await engine.output(['ps', '--all', '--quiet'])).toBe('');
      expect(await readdir(join(runtime, 'dso/volumes'))).toEqual([]);
      expect(await readdir(join(runtime, 'dso/services'))).toEqual([]);
      const directories = [runtime, ...engine.roots];
      expect(await findPlanted([password, key, certificate], { directories })).toEqual([]);
    });

    test('a directory on a disk is refused', async () => {
      const { code, stderr } = await dso('--mode local up -d', {
        XDG_RUNTIME_DIR: join(directory, 'home'),
      });
      expect(code).toBe(1);
      expect(stderr).toContain('it is on a disk, and must be a tmpfs');
      expect(await engine.output(['ps', '--all', '--quiet'])).toBe('');
    });
  },
);
