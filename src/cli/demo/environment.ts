import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { race } from '../../concurrency/single-flight.ts';
import { SecretError } from '../../core/errors.ts';
import { quoteForeign } from '../../core/safe-text.ts';
import { isAnswering } from '../../csi/client.ts';

/** How to start this very program once more. */
export type Self = { readonly execPath: string; readonly script: string };

/** A directory with processes of Keyferry in it. Once it is cleared nothing of either is left. */
export type Stage = {
  readonly dir: string;
  write(name: string, text: string): Promise<void>;
  /** Runs a command to its end; answers what it printed. @throws SecretError if it ends with another code than `exitCode`, by default 0 */
  run(
    args: readonly string[],
    options?: { readonly input?: string; readonly exitCode?: number },
  ): Promise<string>;
  /** Starts a server; answers once its socket does. @throws SecretError */
  serve(args: readonly string[], socket: string): Promise<Server>;
  clear(): Promise<void>;
};

/** A server under way. */
export type Server = {
  readonly pid: number;
  readonly socketPath: string;
  /** Milliseconds from its start to its first answer. */
  readonly startedIn: number;
  /** Tells it to end; answers its exit code, null where it had to be killed. */
  end(): Promise<number | null>;
};

const startTimeoutMs = 15_000;
const endTimeoutMs = 5_000;

/** Sets a stage in a temporary directory. Processes on it do not see this one's own settings. `stop` ends every wait. */
export async function setStage(
  self: Self,
  env: Readonly<Record<string, string | undefined>>,
  stop: AbortSignal,
): Promise<Stage> {
  const dir = await mkdtemp(join(tmpdir(), 'keyferry-demo-'));
  const others = Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('KEYFERRY_')));
  const running = new Set<Actor>();
  const start = (args: readonly string[]): Actor => {
    const actor = createActor(self, args, dir, others);
    running.add(actor);
    void actor.ended.then(() => running.delete(actor));
    return actor;
  };
  return {
    dir,
    write: (name, text) => writeFile(join(dir, name), text, { mode: 0o600 }),
    async run(args, { input = '', exitCode = 0 } = {}) {
      const actor = start(args);
      actor.tell(input);
      const code = await race(actor.ended, stop);
      if (code !== exitCode) throw actor.complaint(`ended with code ${code ?? 'none'}`);
      return actor.printed();
    },
    async serve(args, socket) {
      const began = Date.now();
      const actor = start(args);
      const socketPath = join(dir, socket);
      while (!(await isAnswering(socketPath))) {
        if (!running.has(actor)) throw actor.complaint('ended at once');
        if (Date.now() - began > startTimeoutMs) throw actor.complaint('does not listen');
        await race(sleep(10), stop);
      }
      return { pid: actor.pid, socketPath, startedIn: Date.now() - began, end: actor.end };
    },
    async clear() {
      await Promise.all([...running].map((actor) => actor.end()));
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** A process of Keyferry. */
type Actor = {
  readonly pid: number;
  /** Its exit code. */
  readonly ended: Promise<number | null>;
  /** Writes its whole standard input. */
  tell(input: string): void;
  printed(): string;
  /** What went wrong, with the last line it said about it. */
  complaint(what: string): SecretError;
  end(): Promise<number | null>;
};

function createActor(
  { execPath, script }: Self,
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string | undefined>>,
): Actor {
  const child = spawn(execPath, [resolve(script), ...args], { cwd, env });
  let printed = '';
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-10_000)));
  // It may have ended without reading.
  child.stdin.on('error', () => undefined);
  const ended = new Promise<number | null>((done) => {
    child.on('close', (code) => done(code));
    child.on('error', () => done(null));
  });
  return {
    ended,
    pid: child.pid ?? 0,
    tell: (input) => child.stdin.end(input),
    printed: () => printed,
    complaint(what) {
      const last = said.trimEnd().split('\n').at(-1) ?? '';
      return new SecretError('INTERNAL', `keyferry ${args.join(' ')} ${what}: ${quoteForeign(last)}`);
    },
    async end() {
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), endTimeoutMs);
      const code = await ended;
      clearTimeout(late);
      return code;
    },
  };
}
