import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { raceWithAbort } from '../../concurrency/deadline.ts';
import { SecretError } from '../../core/errors.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import { isServing } from '../../csi/client.ts';

/** How to start this program again. */
export type Executable = { readonly execPath: string; readonly script: string };

type Environment = Readonly<Record<string, string | undefined>>;

/** A running server. */
export type Server = {
  readonly pid: number;
  readonly socketPath: string;
  /** Milliseconds from its start to its first response. */
  readonly startupMs: number;
  /** Stops it and returns its exit code, or null if it had to be killed. */
  stop(): Promise<number | null>;
};

const startTimeoutMs = 15_000;
const endTimeoutMs = 5_000;

/** A temporary directory with processes of Keyferry. `cleanUp` removes both. */
export class DemoEnvironment {
  readonly dir: string;
  readonly #executable: Executable;
  readonly #env: Environment;
  readonly #stop: AbortSignal;
  readonly #running = new Set<DemoProcess>();

  private constructor(dir: string, executable: Executable, env: Environment, stop: AbortSignal) {
    this.dir = dir;
    this.#executable = executable;
    this.#env = env;
    this.#stop = stop;
  }

  /**
   * Creates the directory. The processes do not inherit the settings of this process.
   * @param stop ends every wait
   */
  static async create(
    executable: Executable,
    env: Environment,
    stop: AbortSignal,
  ): Promise<DemoEnvironment> {
    const dir = await mkdtemp(join(tmpdir(), 'keyferry-demo-'));
    const childEnv = Object.fromEntries(
      Object.entries(env).filter(([name]) => !name.startsWith('KEYFERRY_')),
    );
    return new DemoEnvironment(dir, executable, childEnv, stop);
  }

  write(name: string, text: string): Promise<void> {
    return writeFile(join(this.dir, name), text, { mode: 0o600 });
  }

  /**
   * Runs a command to its end and returns its output.
   * @param options.exitCode the expected exit code; default 0
   * @throws SecretError for another exit code
   */
  async run(
    args: readonly string[],
    { input = '', exitCode = 0 }: { readonly input?: string; readonly exitCode?: number } = {},
  ): Promise<string> {
    const child = this.#start(args);
    child.writeInput(input);
    const code = await raceWithAbort(child.exited, this.#stop);
    if (code !== exitCode) throw child.failure(`exited with code ${code ?? 'none'}`);
    return child.output;
  }

  /** Starts a server and waits until its socket responds. @throws SecretError */
  async serve(args: readonly string[], socket: string): Promise<Server> {
    const startedAt = Date.now();
    const child = this.#start(args);
    const socketPath = join(this.dir, socket);
    while (!(await isServing(socketPath))) {
      if (!this.#running.has(child)) throw child.failure('exited before it listened');
      if (Date.now() - startedAt > startTimeoutMs) throw child.failure('does not listen');
      await raceWithAbort(sleep(10), this.#stop);
    }
    const startupMs = Date.now() - startedAt;
    return { pid: child.pid, socketPath, startupMs, stop: () => child.stop() };
  }

  /** Stops all processes and removes the directory. */
  async cleanUp(): Promise<void> {
    await Promise.all([...this.#running].map((child) => child.stop()));
    await rm(this.dir, { recursive: true, force: true });
  }

  #start(args: readonly string[]): DemoProcess {
    const child = new DemoProcess(this.#executable, args, this.dir, this.#env);
    this.#running.add(child);
    void child.exited.then(() => this.#running.delete(child));
    return child;
  }
}

/** A process of Keyferry. */
class DemoProcess {
  /** Its exit code. */
  readonly exited: Promise<number | null>;
  readonly #args: readonly string[];
  readonly #child: ChildProcessWithoutNullStreams;
  #output = '';
  #errorOutput = '';
  /** A secret, where it is the value for `local set`. */
  #input = '';

  constructor(
    { execPath, script }: Executable,
    args: readonly string[],
    cwd: string,
    env: Environment,
  ) {
    this.#args = args;
    const child = spawn(execPath, [resolve(script), ...args], { cwd, env });
    child.stdout.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => {
      this.#errorOutput = (this.#errorOutput + chunk.toString()).slice(-10_000);
    });
    // The process can exit without reading its input.
    child.stdin.on('error', () => undefined);
    this.exited = new Promise<number | null>((done) => {
      child.on('close', (code) => done(code));
      child.on('error', () => done(null));
    });
    this.#child = child;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get output(): string {
    return this.#output;
  }

  /** Writes and closes its standard input. */
  writeInput(input: string): void {
    this.#input = input;
    this.#child.stdin.end(input);
  }

  /** An error with the problem and the last line of standard error. */
  failure(problem: string): SecretError {
    const lastLine = this.#errorOutput.trimEnd().split('\n').at(-1) ?? '';
    return new SecretError(
      'INTERNAL',
      `keyferry ${this.#args.join(' ')} ${problem}: ${sanitizeExternalText(lastLine, [this.#input])}`,
    );
  }

  /** Stops it, by SIGKILL if necessary, and returns its exit code. */
  async stop(): Promise<number | null> {
    this.#child.kill('SIGTERM');
    const killTimer = setTimeout(() => this.#child.kill('SIGKILL'), endTimeoutMs);
    const code = await this.exited;
    clearTimeout(killTimer);
    return code;
  }
}
