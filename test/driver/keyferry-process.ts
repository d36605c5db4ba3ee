import { spawn } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isServing } from '../../src/csi/client.ts';
import { productionFlags } from '../bench/server-process.ts';
import { builtBundle } from './bundle.ts';

/** One line of Keyferry's log. */
export type LogLine = Readonly<Record<string, unknown>> & {
  readonly level: string;
  readonly msg?: string;
};

export type KeyferryProcess = {
  /** The directory of its sockets, for the `providersDir` of the driver. */
  readonly providersDir: string;
  readonly pid: number;
  /** All log lines so far. */
  readonly logs: readonly LogLine[];
  /** Everything that it has printed so far on both streams. It must never contain a secret. */
  output(): string;
  /** The first matching line, past or future. Rejects after `timeoutMs`, by default 30 s. */
  waitForLog(fits: (line: LogLine) => boolean, timeoutMs?: number): Promise<LogLine>;
  /**
   * Stops it, by default with SIGTERM, and removes its own providers directory. May be called
   * again.
   */
  stop(signal?: NodeJS.Signals): Promise<{
    /** The exit code; null if the signal ended it. */
    readonly code: number | null;
    /** The files that it left in its providers directory. */
    readonly left: readonly string[];
  }>;
};

export type KeyferryOptions = {
  /** Arguments after `serve --providers ... --providers-dir ...`, so they override those. */
  readonly args?: readonly string[];
  readonly providers: readonly string[];
  /** The directory of its sockets. Default: a new one. */
  readonly providersDir?: string;
  /** Its whole environment. */
  readonly env?: Readonly<Record<string, string | undefined>>;
};

/**
 * Starts `keyferry serve` as users do: the built bundle, in its own process, with a new providers
 * directory. Resolves when it responds on all its sockets.
 */
export async function startKeyferry({
  providers,
  args = [],
  env = {},
  providersDir: givenProvidersDir,
}: KeyferryOptions): Promise<KeyferryProcess> {
  const bundle = await builtBundle();
  const providersDir = givenProvidersDir ?? (await mkdtemp(join(tmpdir(), 'kf-serve-')));
  const defaultArgs = [
    '--providers',
    providers.join(','),
    '--providers-dir',
    providersDir,
    '--health-address',
    '127.0.0.1:0',
  ];
  const child = spawn(
    process.execPath,
    [...productionFlags, bundle, 'serve', ...defaultArgs, ...args],
    {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const logs: LogLine[] = [];
  let output = '';
  let unfinished = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk;
    const lines = (unfinished + chunk).split('\n');
    unfinished = lines.pop() ?? '';
    for (const line of lines) if (line.startsWith('{')) logs.push(JSON.parse(line) as LogLine);
  });
  let ended = false;
  const end = new Promise<number | null>((resolve) => {
    child.on('close', (code) => {
      ended = true;
      resolve(code);
    });
  });

  async function until<T>(
    what: string,
    timeoutMs: number,
    check: () => Promise<T | undefined> | T | undefined,
  ): Promise<T> {
    for (const deadline = Date.now() + timeoutMs; ; await sleep(10)) {
      const found = await check();
      if (found !== undefined) return found;
      if (ended || Date.now() > deadline)
        throw new Error(`${what}: keyferry ${ended ? 'ended' : 'did not'}:\n${output}`);
    }
  }

  async function stop(signal: NodeJS.Signals = 'SIGTERM'): ReturnType<KeyferryProcess['stop']> {
    child.kill(signal);
    const code = await end;
    const left = await readdir(providersDir).catch(() => []);
    if (givenProvidersDir === undefined) await rm(providersDir, { recursive: true, force: true });
    return { code, left };
  }

  try {
    for (const provider of providers)
      await until(
        `respond as ${provider}`,
        30_000,
        async () => (await isServing(join(providersDir, `${provider}.sock`))) || undefined,
      );
  } catch (error) {
    await stop('SIGKILL');
    throw error;
  }
  return {
    providersDir,
    pid: child.pid ?? 0,
    logs,
    output: () => output,
    waitForLog: (fits, timeoutMs = 30_000) => until('a log line', timeoutMs, () => logs.find(fits)),
    stop,
  };
}
