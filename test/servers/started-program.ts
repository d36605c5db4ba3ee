import { spawn } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A program of a suite that runs until the suite stops it. */
export type StartedProgram = {
  readonly pid: number;
  /** The last part of its output, of both streams. */
  output(): string;
  signal(signal: NodeJS.Signals): void;
  /** Stops it and waits for its end. May be called again. */
  stop(signal?: NodeJS.Signals): Promise<void>;
};

const maxOutputLength = 64 * 1024;

/**
 * Starts it and waits until `isReady`.
 * @throws Error with its last output if it ends before, or takes longer than `timeoutMs`
 */
export async function startProgram(options: {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  readonly isReady: () => Promise<boolean>;
}): Promise<StartedProgram> {
  const { program, args, env = {}, timeoutMs = 60_000, isReady } = options;
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-maxOutputLength);
    });
  const exited = new Promise((resolve) => child.on('close', resolve).on('error', resolve));
  const hasExited = (): boolean =>
    child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
  // An interrupted suite leaves no process running.
  const killOnExit = (): void => void child.kill('SIGKILL');
  process.once('exit', killOnExit);
  const started: StartedProgram = {
    pid: child.pid ?? 0,
    output: () => output,
    signal: (signal) => void child.kill(signal),
    async stop(signal = 'SIGTERM') {
      process.removeListener('exit', killOnExit);
      child.kill(signal);
      await exited;
    },
  };
  for (
    const deadline = Date.now() + timeoutMs;
    !(await isReady().catch(() => false));
    await sleep(50)
  ) {
    if (!hasExited() && Date.now() < deadline) continue;
    await started.stop('SIGKILL');
    throw new Error(
      `${program} ${hasExited() ? 'ended' : 'is not ready'}:\n${output.slice(-4_000)}`,
    );
  }
  return started;
}

/** Ports of 127.0.0.1 that are free at the moment. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = servers.map(
    (server) =>
      new Promise<number>((resolve) =>
        server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
      ),
  );
  const free = await Promise.all(ports);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return free;
}
