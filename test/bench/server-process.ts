import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { DriverClient } from '../../src/csi/client.ts';

/** A server that is measured. */
export type ServerProcess = {
  readonly socketPath: string;
  readonly pid: number;
  /** Milliseconds from spawn until the first response. */
  readonly startupMs: number;
  /** CPU of all its threads so far, in microseconds. */
  cpu(): number;
  /** Resident memory in MiB. */
  rss(): number;
  /** The number of its open sockets. */
  sockets(): number;
  stop(): Promise<void>;
};

/** The limits of production: the measures apply under them. */
export const productionFlags = [
  '--max-semi-space-size=4',
  '--max-old-space-size=64',
  '--no-maglev',
  '--no-parallel-scavenge',
];
const productionEnv = { MALLOC_TRIM_THRESHOLD_: '131072' };

/** Starts a Node program and waits until its socket responds to `Version`. */
export async function startServer(
  args: readonly string[],
  socketPath: string,
  env: Readonly<Record<string, string>> = {},
): Promise<ServerProcess> {
  const startedAt = performance.now();
  const child = spawn(process.execPath, [...productionFlags, ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...productionEnv, ...env },
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`${args[0] ?? 'node'} did not start`);
  for (;;) {
    const client = new DriverClient({ socketPath });
    const result = await client.version({ timeoutMs: 1_000 });
    client.close();
    if (result.code === 'OK') break;
    if (performance.now() - startedAt > 10_000)
      throw new Error(`${socketPath} never responded: ${result.message}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return {
    socketPath,
    pid,
    startupMs: performance.now() - startedAt,
    cpu: () =>
      readdirSync(`/proc/${pid}/task`)
        .map(
          (task) =>
            Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]) /
            1_000,
        )
        .reduce((sum, micros) => sum + micros, 0),
    rss: () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024,
    sockets: () =>
      readdirSync(`/proc/${pid}/fd`).filter((fd) =>
        linkTarget(`/proc/${pid}/fd/${fd}`).startsWith('socket:'),
      ).length,
    async stop() {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** The descriptor may already be closed. */
function linkTarget(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
