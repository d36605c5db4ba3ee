import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { buildGoProgram, programInPath } from '../go-program.ts';

/** What this machine lacks to build them, as text. */
export async function missingGoDriverDependencies(): Promise<readonly string[]> {
  return (await programInPath('go')) === undefined
    ? ['go >= 1.24, to build a client of grpc-go']
    : [];
}

const currentProgram = { directory: import.meta.dirname, name: 'go-driver', target: '.' };
const oldProgram = { ...currentProgram, name: 'old-go-driver', modFile: 'old.mod' };

/**
 * The generations of drivers that a provider can distinguish: by the version of grpc-go, and by how
 * they connect.
 */
export const goDrivers = {
  /** grpc-go 1.55; `:authority` is the socket's path. */
  '1.3': { program: oldProgram, authority: 'path' },
  /** grpc-go 1.79; the same path, percent-encoded. */
  '1.5': { program: currentProgram, authority: 'path' },
  /** grpc-go 1.79; `:authority` is `localhost`. */
  '1.6': { program: currentProgram, authority: 'localhost' },
} as const;

/** Builds them if they are not built yet. The first build takes half a minute on two cores. */
export async function buildGoDrivers(): Promise<void> {
  await buildGoProgram(currentProgram);
  await buildGoProgram(oldProgram);
}

const service = '/v1alpha1.CSIDriverProvider';

/** A method called many times. */
export type CallBatch = {
  /** Default `Mount`. */
  readonly method?: string;
  /** The n-th call sends the n-th of them. After the last it starts again with the first. */
  readonly messages: readonly Message[];
  /** The number of calls; 0: until `stop`. Default: each message once. */
  readonly calls?: number;
  /** Default 1. */
  readonly atOnce?: number;
  /** The timeout of each call. Default: none, as in a rotation by drivers up to 1.5. */
  readonly timeoutMs?: number;
  readonly cancelAfterMs?: number;
};

/**
 * The fields of a request, and an unknown field of `padding` bytes; or `bytes`: the raw message in
 * base64.
 */
export type Message = {
  readonly version?: string;
  readonly attributes?: string;
  readonly secrets?: string;
  readonly targetPath?: string;
  readonly permission?: string;
  readonly padding?: number;
  readonly bytes?: string;
};

/** The results of calls. */
export type CallResult = {
  /** Calls of one message that had the same result, in the order of messages. */
  readonly outcomes: readonly Outcome[];
  readonly slowestMs: number;
  /** The number of connections that the driver has made since its start. */
  readonly connections: number;
};

export type Outcome = {
  readonly calls: number;
  /** Its index in {@link CallBatch.messages}. */
  readonly message: number;
  readonly code: string;
  /** The text of a failure; with OK: what is wrong with the response. */
  readonly text?: string;
  /**
   * The response. For `Version`: its fields. For `Mount`: `files` (by path
   * `<mode, octal> <length> <SHA-256>`) and `versions` (by id).
   */
  readonly response?: Readonly<Record<string, unknown>>;
};

/** The client side of the driver in its own process, over one connection. */
export type GoDriver = {
  call(calls: CallBatch): Promise<CallResult>;
  /** Calls until `stop`, which waits for the calls in flight. */
  callUntilStopped(calls: CallBatch): { stop(): Promise<CallResult> };
  /** Ends the process. May be called again. */
  close(): Promise<void>;
};

/** Starts one. It connects at its first call. */
export async function startGoDriver(options: {
  readonly driver: keyof typeof goDrivers;
  readonly socketPath: string;
  /** Whether it retries after UNAVAILABLE, as drivers do. Default true. */
  readonly retry?: boolean;
  /**
   * The keepalive interval in seconds, also without calls; at least 10. Default: no keepalive, as
   * in drivers.
   */
  readonly keepaliveSeconds?: number;
}): Promise<GoDriver> {
  const { driver, socketPath, retry = true, keepaliveSeconds = 0 } = options;
  const { program, authority } = goDrivers[driver];
  const child = spawn(
    await buildGoProgram(program),
    [
      ...['-socket', socketPath, '-authority', authority],
      ...[`-retry=${String(retry)}`, '-keepalive', `${keepaliveSeconds}s`],
    ],
    { env: {}, stdio: ['pipe', 'pipe', 'inherit'] },
  );
  // An interrupted suite leaves no process running.
  const killOnExit = (): void => void child.kill('SIGKILL');
  process.once('exit', killOnExit);
  const pendingCalls = new Map<
    number,
    { resolve(result: CallResult): void; reject(error: Error): void }
  >();
  let lastId = 0;
  const exited = new Promise<void>((resolve) => {
    child.once('close', () => {
      process.removeListener('exit', killOnExit);
      for (const { reject } of pendingCalls.values()) reject(new Error('the driver has ended'));
      resolve();
    });
  });
  child.stdin.on('error', () => undefined);
  createInterface(child.stdout).on('line', (line) => {
    const { id, ...result } = JSON.parse(line) as CallResult & { readonly id: number };
    const outcomes = [...result.outcomes].sort((one, other) => one.message - other.message);
    pendingCalls.get(id)?.resolve({ ...result, outcomes });
    pendingCalls.delete(id);
  });
  const send = (command: object): void => void child.stdin.write(`${JSON.stringify(command)}\n`);

  function startCall(batch: CallBatch): { id: number; done: Promise<CallResult> } {
    const { method = 'Mount', calls = batch.messages.length, ...rest } = batch;
    const id = (lastId += 1);
    const done = new Promise<CallResult>((resolve, reject) =>
      pendingCalls.set(id, { resolve, reject }),
    );
    send({ id, method: `${service}/${method}`, calls, ...rest });
    return { id, done };
  }

  return {
    call: (calls) => startCall(calls).done,
    callUntilStopped(calls) {
      const { id, done } = startCall({ ...calls, calls: 0 });
      return {
        stop() {
          send({ stop: id });
          return done;
        },
      };
    },
    close() {
      child.stdin.end();
      child.kill();
      return exited;
    },
  };
}
