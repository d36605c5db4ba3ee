import { type SpawnOptions, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { SecretError, errorCodeOf } from '../../core/errors.ts';
import { watchDockerCli } from './docker-cli-socket.ts';

/** The environment of a process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A program that has ended. */
export type Finished = {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
};

/** What {@link Docker} needs. */
export type DockerOptions = {
  /** Docker's own flags. */
  readonly flags: readonly string[];
  readonly env: Environment;
  /** Whether a terminal sends its signals to Docker as well. */
  readonly hasTerminal: boolean;
};

/** More than any model: 10,000 services have a few megabytes. */
const maxOutputBytes = 64 * 1_048_576;
const sameStopMs = 1_000;
const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
/** A terminal sends these to all processes in its foreground. */
const ofTerminal: ReadonlySet<string> = new Set(['SIGINT', 'SIGQUIT']);

/** Runs Docker's command line, with the flags that `docker dso` got for it. */
export class Docker {
  readonly #options: DockerOptions;
  readonly #program: string;
  readonly #env: Environment;

  constructor(options: DockerOptions) {
    this.#options = options;
    const { DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND: caller = '', ...env } = options.env;
    // The inner Docker is no plugin of the outer one.
    this.#env = { ...env, DOCKER_CLI_PLUGIN_SOCKET: undefined };
    this.#program = caller === '' ? 'docker' : caller;
  }

  /**
   * Runs `docker ARGS` in place of this process: with its input and output, and its signals.
   * @param file its file descriptor 3
   * @returns its exit code
   * @throws SecretError NOT_CONFIGURED if there is no Docker
   */
  async run(args: readonly string[], file?: number): Promise<number> {
    const descriptors = file === undefined ? [] : [file];
    const child = this.#spawn(args, { stdio: ['inherit', 'inherit', 'inherit', ...descriptors] });
    const { hasTerminal } = this.#options;
    let lastStop = -Infinity;
    const stop = (signal: NodeJS.Signals): void => {
      const now = performance.now();
      // One request to stop can come by several ways, and Docker takes the third for impatience.
      if (now - lastStop > sameStopMs) child.kill(signal);
      lastStop = now;
    };
    const forward = (signal: NodeJS.Signals): void => {
      if (!(hasTerminal && ofTerminal.has(signal))) stop(signal);
    };
    for (const signal of forwarded) process.on(signal, forward);
    const { DOCKER_CLI_PLUGIN_SOCKET: socket = '' } = this.#options.env;
    const watch = watchDockerCli(socket, () => {
      if (lastStop === -Infinity) stop('SIGTERM');
    });
    try {
      return await new Promise<number>((resolve, reject) => {
        child.once('error', (error) => reject(toStartError(error)));
        child.once('close', (code, signal) =>
          resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
        );
      });
    } finally {
      watch.close();
      for (const signal of forwarded) process.off(signal, forward);
    }
  }

  /**
   * Runs `docker ARGS` and returns what it prints.
   * @throws SecretError NOT_CONFIGURED if there is no Docker
   */
  async capture(args: readonly string[], input = ''): Promise<Finished> {
    const child = this.#spawn(args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    let bytes = 0;
    for (const name of ['stdout', 'stderr'] as const)
      child[name]?.on('data', (piece: Buffer) => {
        bytes += piece.length;
        if (bytes <= maxOutputBytes) output[name].push(piece);
        else child.kill();
      });
    // It may end without reading its input.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
    const code = await new Promise<number>((resolve, reject) => {
      child.once('error', (error) => reject(toStartError(error)));
      child.once('close', (exitCode) => resolve(exitCode ?? 1));
    });
    if (bytes > maxOutputBytes)
      throw new SecretError('INVALID_REQUEST', `docker ${args[0] ?? ''} printed more than 64 MiB`, {
        hint: 'split the application into several projects',
      });
    const text = (pieces: readonly Buffer[]): string => Buffer.concat(pieces).toString();
    return { code, stdout: text(output.stdout), stderr: text(output.stderr) };
  }

  #spawn(args: readonly string[], options: SpawnOptions): ReturnType<typeof spawn> {
    return spawn(this.#program, [...this.#options.flags, ...args], { ...options, env: this.#env });
  }
}

function toStartError(cause: Error): SecretError {
  const code = errorCodeOf(cause);
  const isMissing = code === 'ENOENT';
  return new SecretError(
    'NOT_CONFIGURED',
    isMissing ? 'there is no docker in PATH' : `docker cannot be started: ${code ?? cause.name}`,
    { hint: isMissing ? "install Docker's command line" : 'check that it can be executed', cause },
  );
}
