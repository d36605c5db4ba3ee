import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildGoProgram, programInPath } from '../go-program.ts';
import { startProgram, type StartedProgram } from '../started-program.ts';
import { runProgram, type Finished, type RunOptions } from './run-program.ts';

/** A program of Debian, and the package that has it. */
const debianPrograms = [
  ['busybox', 'busybox-static'],
  ['dockerd', 'docker.io'],
  ['docker', 'docker.io'],
  ['containerd', 'docker.io'],
  ['ip', 'iproute2'],
  ['iptables', 'iptables'],
  ['nsenter', 'util-linux'],
] as const;

/** What this machine lacks to run an engine, as text. */
export async function missingDockerDependencies(): Promise<readonly string[]> {
  const missing = process.getuid?.() === 0 ? [] : ['root, to run an engine'];
  for (const [program, debianPackage] of debianPrograms)
    if ((await programInPath(program)) === undefined)
      missing.push(`${program} (Debian: apt-get install ${debianPackage})`);
  if ((await programInPath('go')) === undefined) missing.push('go >= 1.24.9, to build Compose');
  return missing;
}

/**
 * Builds Docker Compose if needed; the first time takes about four minutes on two cores. The
 * program's name is that of its package.
 */
export function buildCompose(): Promise<string> {
  const ldflags = '-X github.com/docker/compose/v2/internal.Version=v2.40.3';
  return buildGoProgram({ directory: import.meta.dirname, name: 'cmd', target: 'tool', ldflags });
}

/** Where engines look for volume plugins, and ask each of them for every name. */
const machinePlugins = '/run/docker/plugins';
const startScript = `mount --bind "$0" ${machinePlugins} && exec dockerd --config-file "$1"`;

/** The options of {@link startEngine}. */
export type EngineOptions = {
  /** Plugins of the CLI beside Compose: their paths by name. */
  readonly cliPlugins?: Readonly<Record<string, string>>;
};

/**
 * Docker's engine with a data root, namespaces and cgroups of its own, so that it shares nothing
 * with the machine. `stop` removes all of it.
 */
export async function startEngine({ cliPlugins = {} }: EngineOptions = {}) {
  const compose = await buildCompose();
  // A short path: a unix socket's path has at most 107 bytes.
  const directory = await mkdtemp(join(tmpdir(), 'kf-docker-'));
  const namespace = `kf-docker-${randomBytes(4).toString('hex')}`;
  const file = (name: string): string => join(directory, name);
  const socket = file('docker.sock');
  const configuration = {
    hosts: [`unix://${socket}`],
    'data-root': file('data'),
    'exec-root': file('exec'),
    pidfile: file('dockerd.pid'),
    'cgroup-parent': `/${namespace}`,
    'exec-opts': ['native.cgroupdriver=cgroupfs'],
    'shutdown-timeout': 5,
    'log-level': 'warn',
  };
  const configure = (changes: object): Promise<void> =>
    writeFile(file('daemon.json'), JSON.stringify({ ...configuration, ...changes }));
  await configure({});
  const clientPlugins = file('config/cli-plugins');
  const volumePlugins = file('plugins');
  for (const path of [clientPlugins, volumePlugins, machinePlugins])
    await mkdir(path, { recursive: true });
  for (const [name, path] of Object.entries({ compose, ...cliPlugins }))
    await symlink(path, join(clientPlugins, `docker-${name}`));

  const addresses = createNetwork(namespace);
  // What a program mounts below it appears in the mount namespace of the engine as well.
  execFileSync('mount', ['--bind', '--make-shared', directory, directory]);
  // An interrupted suite leaves no container running.
  const clearOnExit = (): void => {
    killAll(namespace);
    unmountBelow(directory);
    execFileSync('umount', ['--lazy', directory]);
    execFileSync('ip', ['netns', 'delete', namespace]);
  };
  process.once('exit', clearOnExit);

  const env: Readonly<Record<string, string>> = {
    PATH: process.env.PATH ?? '',
    HOME: directory,
    DOCKER_HOST: `unix://${socket}`,
    DOCKER_CONFIG: file('config'),
  };

  /** Runs `docker ARGS`. */
  const docker = (args: readonly string[], options: RunOptions = {}): Promise<Finished> =>
    runProgram('docker', args, { ...options, env: { ...env, ...options.env } });

  /** Runs `docker ARGS` and returns its output. @throws Error if it fails */
  async function output(args: readonly string[], options: RunOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await docker(args, options);
    if (code !== 0) throw new Error(`docker ${args.join(' ')} failed (${code}):\n${stderr}`);
    return stdout;
  }

  async function removeContainers(): Promise<void> {
    const { stdout: containers } = await docker(['ps', '--all', '--quiet']);
    const ids = containers.split('\n').filter((id) => id !== '');
    if (ids.length > 0) await docker(['rm', '--force', '--volumes', ...ids]);
  }

  const start = (): Promise<StartedProgram> =>
    startProgram({
      // Not `ip netns exec`, which hides the cgroups.
      program: 'nsenter',
      args: [
        ...[`--net=/run/netns/${namespace}`, 'unshare', '--mount', '--propagation', 'slave'],
        ...['sh', '-c', startScript, volumePlugins, file('daemon.json')],
      ],
      env: { PATH: env.PATH ?? '' },
      // Each container whose volume plugin is away delays the start.
      timeoutMs: 300_000,
      isReady: async () => (await docker(['version'])).code === 0,
    });
  let engine = await start();

  return {
    /** What is mounted below it, the engine sees. */
    directory,
    /** Where this engine looks for volume plugins. */
    volumePlugins,
    /** The socket of its API. */
    socket,
    /** The command line of a program that sees the volume plugins where the engine sees them. */
    inMountNamespace: (...command: string[]): readonly string[] => [
      ...['nsenter', `--mount=/proc/${engine.pid}/ns/mnt`, ...command],
    ],
    /** The command line of a program that has the mounts and the network of the engine. */
    besideEngine: (...command: string[]): readonly string[] => [
      ...['nsenter', `--mount=/proc/${engine.pid}/ns/mnt`, `--net=/proc/${engine.pid}/ns/net`],
      ...command,
    ],
    /** Everything that the engine writes: its data, and the state of running containers. */
    roots: [file('data'), file('exec')],
    /** The variables with which `docker` uses this engine. */
    env,
    /** Where this machine reaches published ports. */
    address: addresses.engine,
    /** Where containers reach servers of this machine. */
    machineAddress: addresses.machine,
    docker,
    output,
    /** The log of the engine. */
    log: () => engine.output(),
    /** Stops the engine as `systemctl stop docker` does; its containers stop. */
    stopEngine: () => engine.stop(),
    /** Kills the engine alone. Its containers go on. */
    async killEngine(): Promise<void> {
      await engine.stop('SIGKILL');
      // Its containerd ends with it. Where process 1 does not reap it, the next engine would take
      // it for one that runs.
      await rm(file('exec/containerd/containerd.pid'), { force: true });
    },
    /** Changes daemon.json for the next start. */
    configure,
    removeContainers,
    /** Ends the engine and all containers at once, like a machine that loses its power. */
    async crash(): Promise<void> {
      for (let round = 0; round < 100 && killAll(namespace) > 0; round += 1) await sleep(20);
      await engine.stop('SIGKILL');
      unmountBelow(directory);
      // These are in /run, which is empty after a start of the machine.
      for (const name of ['exec', 'dockerd.pid', 'docker.sock'])
        await rm(file(name), { recursive: true, force: true });
    },
    /** Starts it again after `stopEngine`, `killEngine` or `crash`. */
    async startEngine(): Promise<void> {
      engine = await start();
    },
    /** Stops everything, and removes all files. */
    async stop(): Promise<void> {
      await removeContainers();
      await engine.stop();
      process.removeListener('exit', clearOnExit);
      clearOnExit();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** See {@link startEngine}. */
export type Engine = Awaited<ReturnType<typeof startEngine>>;

/** Makes the network namespace, and a cable to it. Each end has an address. */
function createNetwork(namespace: string): { readonly machine: string; readonly engine: string } {
  const ip = (...args: readonly string[]): unknown => execFileSync('ip', args);
  const [third = 0, fourth = 0] = randomBytes(2);
  const network = `169.254.${third}.${fourth & ~3}`.split('.');
  const addressOf = (last: number): string =>
    [...network.slice(0, 3), Number(network[3]) + last].join('.');
  const [machine, engine] = [addressOf(1), addressOf(2)];
  // A name of a network device has at most 15 bytes. The cable goes with the namespace.
  const cable = namespace.replace('docker-', '');
  ip('netns', 'add', namespace);
  ip('link', 'add', cable, 'type', 'veth', 'peer', 'name', 'machine', 'netns', namespace);
  ip('address', 'add', `${machine}/30`, 'dev', cable);
  ip('link', 'set', cable, 'up');
  ip('-n', namespace, 'address', 'add', `${engine}/30`, 'dev', 'machine');
  for (const device of ['lo', 'machine']) ip('-n', namespace, 'link', 'set', device, 'up');
  return { machine, engine };
}

/** Kills the engine, its helpers and the processes of its containers. Returns how many. */
function killAll(namespace: string): number {
  const helpers = execFileSync('ip', ['netns', 'pids', namespace]).toString().split('\n');
  const contained = cgroupDirectories(namespace).flatMap((directory) =>
    readdirSync(directory, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('cgroup.procs'))
      .flatMap((path) => readFileSync(join(directory, path), 'utf8').split('\n')),
  );
  const pids = new Set([...helpers, ...contained].map(Number).filter((pid) => pid > 0));
  for (const pid of pids)
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  return pids.size;
}

/** Unmounts what killed programs leave mounted below a directory. */
export function unmountBelow(directory: string): void {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  const paths = mounts.map((line) => line.split(' ')[1] ?? '');
  for (const path of paths.filter((path) => path.startsWith(`${directory}/`)).reverse())
    execFileSync('umount', ['--lazy', path]);
}

/** The cgroups of the containers: one directory, or with cgroup v1 one of each controller. */
function cgroupDirectories(namespace: string): readonly string[] {
  const root = '/sys/fs/cgroup';
  return ['', ...readdirSync(root)]
    .map((controller) => join(root, controller, namespace))
    .filter((directory) => {
      try {
        return readdirSync(directory).length > 0;
      } catch {
        return false;
      }
    });
}
