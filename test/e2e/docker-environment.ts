import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { requestOver } from '../docker/agent.ts';
import { nodeFlags } from '../../src/docker/setup/unit.ts';
import { builtBundle } from '../driver/bundle.ts';
import { startEngine, unmountBelow, type Engine } from '../servers/docker/engine.ts';
import { importTestImages } from '../servers/docker/images.ts';
import { runProgram, type Finished, type RunOptions } from '../servers/docker/run-program.ts';
import { startProgram, type StartedProgram } from '../servers/started-program.ts';

const repository = join(import.meta.dirname, '../..');

/** Builds the files of a release into dist/. @returns the path of keyferry.js */
export async function buildRelease(): Promise<string> {
  const bundle = await builtBundle();
  const made = await runProgram('make', ['--no-print-directory', 'shim', 'demo-app'], {
    cwd: repository,
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '/root' },
  });
  if (made.code !== 0) throw new Error(`the shim or the demo cannot be built:\n${made.stderr}`);
  return bundle;
}

/** A Compose project in a directory of its own. Its name is that of the directory. */
export type Project = {
  readonly name: string;
  readonly directory: string;
  write(file: string, text: string): Promise<void>;
  /** `docker dso ARGS` in its directory. */
  dso(args: readonly string[], options?: RunOptions): Promise<Finished>;
  /** The same. @throws Error if it fails */
  dsoOutput(args: readonly string[], options?: RunOptions): Promise<string>;
  /** `docker compose ARGS` in its directory. @throws Error if it fails */
  compose(args: readonly string[], options?: RunOptions): Promise<string>;
  /** A container's state as `docker inspect` has it. */
  inspect(container: string): Promise<ContainerState>;
};

/** A part of `docker inspect`. */
export type ContainerState = {
  readonly Id: string;
  readonly RestartCount: number;
  readonly State: {
    readonly Status: string;
    readonly StartedAt: string;
    readonly ExitCode: number;
    readonly Error: string;
    readonly Health?: { readonly Status: string };
  };
};

/**
 * An engine with the plugin, an agent with the embedded store, and projects.
 * @param agentFlags further flags of the agent. Default: each start reads its secrets
 */
export async function startDockerEnvironment(
  agentFlags: readonly string[] = ['--refresh-interval', '0'],
) {
  const bundle = await buildRelease();
  const engine = await startEngine({ cliPlugins: { dso: join(repository, 'dist/docker-dso') } });
  await importTestImages(engine);
  const directory = join(engine.directory, 'host');
  await mkdir(directory);
  const file = (name: string): string => join(directory, name);
  const socket = file('agent.sock');
  const pluginSocket = join(engine.volumePlugins, 'dso.sock');
  const env = { DSO_AGENT_SOCKET: socket };
  const keys = ['--store', file('store.age'), '--key', file('store.key')];

  async function keyferry(args: readonly string[], input?: string): Promise<void> {
    const { code, stderr } = await runProgram(process.execPath, [bundle, ...args], {
      ...(input !== undefined && { input }),
    });
    if (code !== 0) throw new Error(`keyferry ${args.join(' ')} failed (${code}):\n${stderr}`);
  }
  await keyferry(['local', ...keys, 'init']);
  await writeFile(
    file('dso.yaml'),
    `providers:
  local: {type: local, store_file: ${file('store.age')}, key_file: ${file('store.key')}}
`,
  );
  // Only root looks into it, as into /var/lib/dso.
  await chmod(directory, 0o700);

  const startAgent = (): Promise<StartedProgram> =>
    startProgram({
      program: process.execPath,
      args: [
        ...[...nodeFlags, bundle, 'docker-agent', '--config', file('dso.yaml')],
        ...['--socket', socket, '--plugin-socket', pluginSocket],
        ...['--engine-socket', engine.socket],
        ...['--volumes-dir', file('volumes'), '--state-dir', file('state')],
        ...['--shim-dir', join(repository, 'dist/shim'), ...agentFlags],
      ],
      env: engine.env,
      // A killed agent leaves its socket.
      isReady: async () => (await requestOver(socket, 'GET', '/v1/info')).status === 200,
    });
  let agent = await startAgent();
  const log: string[] = [];

  async function clearRun(): Promise<void> {
    unmountBelow(directory);
    for (const path of [file('volumes'), socket, pluginSocket])
      await rm(path, { recursive: true, force: true });
  }

  async function project(name: string, files: Readonly<Record<string, string>>): Promise<Project> {
    const cwd = file(`projects/${name}`);
    await mkdir(cwd, { recursive: true });
    const write = (path: string, text: string): Promise<void> => writeFile(join(cwd, path), text);
    for (const [path, text] of Object.entries(files)) await write(path, text);
    const inProject = (options: RunOptions): RunOptions => ({
      ...options,
      cwd,
      env: { ...env, ...options.env },
    });
    return {
      name,
      directory: cwd,
      write,
      dso: (args, options = {}) => engine.docker(['dso', ...args], inProject(options)),
      dsoOutput: (args, options = {}) => engine.output(['dso', ...args], inProject(options)),
      compose: (args, options = {}) => engine.output(['compose', ...args], inProject(options)),
      async inspect(container) {
        const [state] = JSON.parse(await engine.output(['inspect', container])) as [ContainerState];
        return state;
      },
    };
  }

  return {
    engine,
    bundle,
    project,
    /** Where {@link writeFile} writes. */
    path: file,
    /** Writes a file that only root can read. */
    writeFile: (name: string, text: string): Promise<void> =>
      writeFile(file(name), text, { mode: 0o600 }),
    /** dso.yaml of the host. */
    readConfig: () => readFile(file('dso.yaml'), 'utf8'),
    /** Replaces dso.yaml of the host, and starts the agent with it. */
    async configure(text: string): Promise<void> {
      await writeFile(file('dso.yaml'), text);
      await agent.stop();
      log.push(agent.output());
      agent = await startAgent();
    },
    /** Where the agent writes values. */
    volumes: file('volumes'),
    /** Writes a secret into the store. */
    put: (name: string, text: string) => keyferry(['local', ...keys, 'set', name], text),
    /** Everything that the agent has printed. */
    agentLog: () => [...log, agent.output()].join(''),
    agentPid: () => agent.pid,
    async stopAgent(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
      await agent.stop(signal);
      log.push(agent.output());
    },
    async startAgent(): Promise<void> {
      agent = await startAgent();
    },
    /** What a machine that loses its power keeps: what is on disk, and nothing of /run. */
    async losePower(): Promise<void> {
      await agent.stop('SIGKILL');
      log.push(agent.output());
      await engine.crash();
      await clearRun();
    },
    async stop(): Promise<void> {
      // The engine needs the agent to remove them.
      await engine.removeContainers();
      await agent.stop();
      await engine.stop();
    },
  };
}

/** See {@link startDockerEnvironment}. */
export type DockerEnvironment = Awaited<ReturnType<typeof startDockerEnvironment>>;

/** A container of a project. */
export const containerOf = ({ name }: Project, service: string, number = 1): string =>
  `${name}-${service}-${number}`;

/** Everything that the engine shows of a container and of its image. */
export async function everythingShown(engine: Engine, container: string): Promise<string> {
  const { output, directory } = engine;
  const image = `kf/saved-${container}`.toLowerCase();
  await output(['commit', container, image]);
  const archive = join(directory, 'shown.tar');
  const shown = [
    await output(['inspect', container]),
    await output(['inspect', image]),
    await output(['history', '--no-trunc', image]),
    await output(['ps', '--all', '--no-trunc', '--format', '{{json .}}']),
    await output(['diff', container]),
    await output(['top', container]).catch(() => ''),
  ];
  const { stdout, stderr } = await engine.docker(['logs', container]);
  shown.push(stdout, stderr);
  for (const args of [
    ['export', '--output', archive, container],
    ['save', '--output', archive, image],
  ]) {
    await output(args);
    const { stdout: strings } = await runProgram('grep', ['-aoE', '[[:print:]]{8,}', archive], {
      env: engine.env,
    });
    shown.push(strings);
  }
  await output(['rmi', image]);
  await rm(archive);
  return shown.join('\n');
}
