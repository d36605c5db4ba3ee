import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { builtPlugin } from '../driver/bundle.ts';
import { type FakeDockerAgent, startFakeDockerAgent } from '../fakes/docker-agent.ts';
import { type DockerAnswer, type FakeDocker, createFakeDocker } from '../fakes/docker-cli.ts';

/** What the plugin has printed, and its exit code. */
export type PluginResult = {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
};

/** How {@link PluginHost.run} runs the plugin. */
export type RunPluginOptions = {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Called with the process when it has written to its output. */
  readonly onOutput?: (
    kill: (signal: NodeJS.Signals) => void,
    /** Leaves, as `head` does. */
    closeOutput: () => void,
  ) => void;
};

/** The built plugin in a directory of its own, with fakes of Docker and of the agent. */
export type PluginHost = {
  readonly folder: string;
  readonly docker: FakeDocker;
  readonly agent: FakeDockerAgent;
  /** Runs the plugin as Docker does: `docker dso up` has the words `dso up`. */
  run(line: string, options?: RunPluginOptions): Promise<PluginResult>;
  runWords(words: readonly string[], options?: RunPluginOptions): Promise<PluginResult>;
  /** Writes a file of the application. */
  write(name: string, text: string): Promise<void>;
  /** The words of each call of Docker. */
  lines(): Promise<readonly string[]>;
  stop(): Promise<void>;
};

/** See {@link PluginHost}. The application is in the directory `app`. */
export async function startPluginHost(): Promise<PluginHost> {
  const plugin = await builtPlugin();
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'kf-dso-')));
  const [docker, agent] = await Promise.all([
    createFakeDocker(folder),
    startFakeDockerAgent(folder),
  ]);
  await mkdir(join(folder, 'app'));
  async function runWords(
    words: readonly string[],
    { env = {}, input, onOutput }: RunPluginOptions = {},
  ): Promise<PluginResult> {
    const child = spawn(plugin, words, {
      cwd: join(folder, 'app'),
      env: {
        PATH: `${docker.bin}:${process.env.PATH ?? ''}`,
        DSO_AGENT_SOCKET: agent.socket,
        ...env,
      },
    });
    child.stdin.end(input);
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] += text;
        onOutput?.(
          (signal) => void child.kill(signal),
          () => void child.stdout.destroy(),
        );
      });
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
    return { code, ...output };
  }
  return {
    ...{ folder, docker, agent, runWords },
    run: (line, options) => runWords(line.split(' '), options),
    write: (name, text) => writeFile(join(folder, 'app', name), text),
    lines: async () => (await docker.calls()).map(({ args }) => args.join(' ')),
    async stop() {
      await agent.server.close();
      await rm(folder, { recursive: true });
    },
  };
}

/** Services of a Compose model, by their names. */
export type Services = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** The answer of `docker compose config`, which also is what the file would say. */
export function model(services: Services): DockerAnswer {
  return {
    when: 'config --format json$',
    stdout: JSON.stringify({ name: 'shop', services, networks: { default: {} } }),
  };
}

/** A service of a Compose model with one secret. */
export const withSecret = {
  ...{ image: 'my-app:latest', command: null, entrypoint: null },
  environment: { DB_PASSWORD: 'dso://my-app/db#password', NODE_ENV: 'production' },
};
