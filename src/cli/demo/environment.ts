import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { raceWithAbort } from '../../concurrency/single-flight.ts';
import { SecretError } from '../../core/errors.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import { isServing } from '../../csi/client.ts';

/** How to start this program again. */
export type Executable = { readonly execPath: string; readonly script: string };

/** A temporary directory with processes of Keyferry. `cleanUp` removes both. */
export type DemoEnvironment = {
  readonly dir: string;
  write(name: string, text: string): Promise<void>;
  /**
   * Runs a command to its end and returns its output.
   * @param options.exitCode the expected exit code; default 0
   * @throws SecretError for another exit code
   */
  run(
    args: readonly string[],
    options?: { readonly input?: string; readonly exitCode?: number },
  ): Promise<string>;
  /** Starts a server and waits until its socket responds. @throws SecretError */
  serve(args: readonly string[], socket: string): Promise<Server>;
  cleanUp(): Promise<void>;
};

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

/**
 * Creates the environment. Its processes do not inherit the settings of this process.
 * @param stop ends every wait
 */
export async function createDemoEnvironment(
  executable: Executable,
  env: Readonly<Record<string, string | undefined>>,
  stop: AbortSignal,
): Promise<DemoEnvironment> {
  const dir = await mkdtemp(join(tmpdir(), 'keyferry-demo-'));
  const childEnv = Object.fromEntries(
    Object.entries(env).filter(([name]) => !name.startsWith('KEYFERRY_')),
  );
  const running = new Set<DemoProcess>();
  const start = (args: readonly string[]): DemoProcess => {
    const child = startDemoProcess(executable, args, dir, childEnv);
    running.add(child);
    void child.exited.then(() => running.delete(child));
    return child;
  };
  return {
    dir,
    write: (name, text) => writeFile(join(dir, name), text, { mode: 0o600 }),
    async run(args, { input = '', exitCode = 0 } = {}) {
      const child = start(args);
      child.writeInput(input);
      const code = await raceWithAbort(child.exited, stop);
      if (code !== exitCode) throw child.failure(`exited with code ${code ?? 'none'}`);
      return child.output();
    },
    async serve(args, socket) {
      const startedAt = Date.now();
      const child = start(args);
      const socketPath = join(dir, socket);
      while (!(await isServing(socketPath))) {
        if (!running.has(child)) throw child.failure('exited before it listened');
        if (Date.now() - startedAt > startTimeoutMs) throw child.failure('does not listen');
        await raceWithAbort(sleep(10), stop);
      }
      return { pid: child.pid, socketPath, startupMs: Date.now() - startedAt, stop: child.stop };
    },
    async cleanUp() {
      await Promise.all([...running].map((child) => child.stop()));
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** A process of Keyferry. */
type DemoProcess = {
  readonly pid: number;
  /** Its exit code. */
  readonly exited: Promise<number | null>;
  /** Writes and closes its standard input. */
  writeInput(input: string): void;
  output(): string;
  /** An error with the problem and the last line of standard error. */
  failure(problem: string): SecretError;
  stop(): Promise<number | null>;
};

function startDemoProcess(
  { execPath, script }: Executable,
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string | undefined>>,
): DemoProcess {
  const child = spawn(execPath, [resolve(script), ...args], { cwd, env });
  let output = '';
  let errorOutput = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on(
    'data',
    (chunk: Buffer) => (errorOutput = (errorOutput + chunk.toString()).slice(-10_000)),
  );
  // The process can exit without reading its input.
  child.stdin.on('error', () => undefined);
  const exited = new Promise<number | null>((done) => {
    child.on('close', (code) => done(code));
    child.on('error', () => done(null));
  });
  return {
    exited,
    pid: child.pid ?? 0,
    writeInput: (input) => child.stdin.end(input),
    output: () => output,
    failure(problem) {
      const lastLine = errorOutput.trimEnd().split('\n').at(-1) ?? '';
      return new SecretError(
        'INTERNAL',
        `keyferry ${args.join(' ')} ${problem}: ${sanitizeExternalText(lastLine)}`,
      );
    },
    async stop() {
      child.kill('SIGTERM');
      const killTimer = setTimeout(() => child.kill('SIGKILL'), endTimeoutMs);
      const code = await exited;
      clearTimeout(killTimer);
      return code;
    },
  };
}
