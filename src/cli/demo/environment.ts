import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { raceWithAbort } from '../../concurrency/deadline.ts';
import { SecretError } from '../../core/errors.ts';
import type { Output } from '../../formats/terminal-style.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';

/** How to start this program again. */
export type Executable = { readonly execPath: string; readonly script: string };

/** What a demo needs of the process. */
export type DemoDeps = {
  readonly executable: Executable;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  /** Aborts when the process is stopped. Then the demo cleans up and ends. */
  readonly stop: AbortSignal;
};

type Environment = Readonly<Record<string, string | undefined>>;

/** A running server. */
export type Server = {
  readonly pid: number;
  /** Milliseconds from its start to its first response. */
  readonly startupMs: number;
  /** Stops it and returns its exit code, or null if it had to be killed. */
  stop(): Promise<number | null>;
};

/** Ends the demo with an error if a step did not do what it should show. */
export function assertStep(condition: boolean, failure: string): void {
  if (!condition) throw new SecretError('INTERNAL', `the demo failed: ${failure}`);
}

const startTimeoutMs = 15_000;
const endTimeoutMs = 5_000;

/** How a command of the demo is run. */
export type RunOptions = {
  /** Its standard input. */
  readonly input?: string;
  /** The expected exit code; default 0. */
  readonly exitCode?: number;
};

/** A temporary directory with processes of the demo. `cleanUp` removes both. */
export class DemoEnvironment {
  readonly dir: string;
  readonly #executable: Executable;
  readonly #env: Record<string, string | undefined>;
  readonly #stop: AbortSignal;
  readonly #running = new Set<DemoProcess>();

  private constructor(
    dir: string,
    executable: Executable,
    env: Record<string, string | undefined>,
    stop: AbortSignal,
  ) {
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
      Object.entries(env).filter(([name]) => !/^(KEYFERRY|DSO)_/.test(name)),
    );
    return new DemoEnvironment(dir, executable, childEnv, stop);
  }

  write(name: string, text: string): Promise<void> {
    return writeFile(join(this.dir, name), text, { mode: 0o600 });
  }

  /** Sets a variable of the processes that start from now on. */
  setVariable(name: string, value: string): void {
    this.#env[name] = value;
  }

  /**
   * Runs Keyferry to its end and returns its output.
   * @throws SecretError for another exit code than expected
   */
  async run(args: readonly string[], options: RunOptions = {}): Promise<string> {
    return (await this.#finish(this.#start(this.#keyferry(args)), options)).output;
  }

  /**
   * Runs another program to its end and returns the output of both of its streams.
   * @throws SecretError for another exit code than expected
   */
  async runProgram(
    program: string,
    args: readonly string[],
    options: RunOptions = {},
  ): Promise<string> {
    const child = this.#start({ file: program, args, name: program, shownArgs: args });
    const { output, errorOutput } = await this.#finish(child, options);
    return output + errorOutput;
  }

  /** Starts a server of Keyferry and waits until it is ready. @throws SecretError */
  async serve(args: readonly string[], isReady: () => Promise<boolean>): Promise<Server> {
    const startedAt = Date.now();
    const child = this.#start(this.#keyferry(args));
    while (!(await isReady())) {
      if (!this.#running.has(child)) throw child.failure('exited before it listened');
      if (Date.now() - startedAt > startTimeoutMs) throw child.failure('does not listen');
      await raceWithAbort(sleep(10), this.#stop);
    }
    return { pid: child.pid, startupMs: Date.now() - startedAt, stop: () => child.stop() };
  }

  /** Runs a program that cleans up, to its end. Returns its output, and ignores a failure. */
  async runCleanUp(program: string, args: readonly string[]): Promise<string> {
    const child = this.#start({ file: program, args, name: program, shownArgs: args });
    child.writeInput('');
    await child.exited;
    return child.output;
  }

  /** Stops all processes and removes the directory. */
  async cleanUp(): Promise<void> {
    await Promise.all([...this.#running].map((child) => child.stop()));
    await rm(this.dir, { recursive: true, force: true });
  }

  async #finish(
    child: DemoProcess,
    { input = '', exitCode = 0 }: RunOptions,
  ): Promise<DemoProcess> {
    child.writeInput(input);
    const code = await raceWithAbort(child.exited, this.#stop);
    if (code !== exitCode) throw child.failure(`exited with code ${code ?? 'none'}`);
    return child;
  }

  #keyferry(args: readonly string[]): CommandLine {
    const { execPath, script } = this.#executable;
    const allArgs = [resolve(script), ...args];
    return { file: execPath, args: allArgs, name: 'keyferry', shownArgs: args };
  }

  #start(commandLine: CommandLine): DemoProcess {
    const child = new DemoProcess(commandLine, this.dir, this.#env);
    this.#running.add(child);
    void child.exited.then(() => this.#running.delete(child));
    return child;
  }
}

/** What to start, and how the demo shows it. */
type CommandLine = {
  readonly file: string;
  readonly args: readonly string[];
  readonly name: string;
  readonly shownArgs: readonly string[];
};

/** A process of the demo. */
class DemoProcess {
  /** Its exit code. */
  readonly exited: Promise<number | null>;
  readonly #commandLine: CommandLine;
  readonly #child: ChildProcessWithoutNullStreams;
  #output = '';
  #errorOutput = '';
  /** A secret, where it is the value for `local set`. */
  #input = '';

  constructor(commandLine: CommandLine, cwd: string, env: Environment) {
    this.#commandLine = commandLine;
    const child = spawn(commandLine.file, commandLine.args, { cwd, env });
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

  get errorOutput(): string {
    return this.#errorOutput;
  }

  /** Writes and closes its standard input. */
  writeInput(input: string): void {
    this.#input = input;
    this.#child.stdin.end(input);
  }

  /** An error with the problem and the last line of standard error. */
  failure(problem: string): SecretError {
    const { name, shownArgs } = this.#commandLine;
    const lastLine = this.#errorOutput.trimEnd().split('\n').at(-1) ?? '';
    return new SecretError(
      'INTERNAL',
      `${name} ${shownArgs.join(' ')} ${problem}: ${sanitizeExternalText(lastLine, [this.#input])}`,
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
