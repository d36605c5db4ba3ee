import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { buildGoProgram, programInPath } from '../go-program.ts';

/** What this machine lacks to build them, in words. */
export async function missingGoDriverDependencies(): Promise<readonly string[]> {
  return (await programInPath('go')) === undefined
    ? ['go >= 1.24, to build a client of grpc-go']
    : [];
}

const currentProgram = { directory: import.meta.dirname, name: 'go-driver', target: '.' };
const oldProgram = { ...currentProgram, name: 'old-go-driver', modFile: 'old.mod' };

/** Drivers by what of them a provider can tell apart: the age of their grpc-go, and how they connect. */
export const goDrivers = {
  /** grpc-go 1.55; `:authority` is the socket's path. */
  '1.3': { program: oldProgram, authority: 'path' },
  /** grpc-go 1.79; the same path, percent-encoded. */
  '1.5': { program: currentProgram, authority: 'path' },
  /** grpc-go 1.79; `:authority` is `localhost`. */
  '1.6': { program: currentProgram, authority: 'localhost' },
} as const;

/** Builds them where they are not built yet; half a minute the first time, on two cores. */
export async function buildGoDrivers(): Promise<void> {
  await buildGoProgram(currentProgram);
  await buildGoProgram(oldProgram);
}

const service = '/v1alpha1.CSIDriverProvider';

/** A method called many times. */
export type CallBatch = {
  /** Default `Mount`. */
  readonly method?: string;
  /** The n-th call sends the n-th of them, over and over. */
  readonly messages: readonly Message[];
  /** How many; 0: until told to stop. Default each message once. */
  readonly calls?: number;
  /** Default 1. */
  readonly atOnce?: number;
  /** Of each call; default none, as in a rotation by drivers up to 1.5. */
  readonly timeoutMs?: number;
  readonly cancelAfterMs?: number;
};

/** The fields of a request, and one of `padding` bytes that nobody knows; or `bytes`, in base64, as they are. */
export type Message = {
  readonly version?: string;
  readonly attributes?: string;
  readonly secrets?: string;
  readonly targetPath?: string;
  readonly permission?: string;
  readonly padding?: number;
  readonly bytes?: string;
};

/** What calls came to. */
export type CallResult = {
  /** Calls of one message that came to the same; in order of messages. */
  readonly outcomes: readonly Outcome[];
  readonly slowestMs: number;
  /** How many connections the driver has made since it began. */
  readonly connections: number;
};

export type Outcome = {
  readonly calls: number;
  /** Its place in {@link CallBatch.messages}. */
  readonly message: number;
  readonly code: string;
  /** Of a failure; with OK: what is wrong with the answer. */
  readonly text?: string;
  /** Of `Version`: its fields. Of `Mount`: `files` (by path `<mode, octal> <length> <SHA-256>`) and `versions` (by id). */
  readonly answer?: Readonly<Record<string, unknown>>;
};

/** The driver's client side in a process of its own, over one connection. */
export type GoDriver = {
  call(calls: CallBatch): Promise<CallResult>;
  /** Calls until told to stop; what is under way then is waited for. */
  callUntilStopped(calls: CallBatch): { stop(): Promise<CallResult> };
  /** Ends the process. May be called again. */
  close(): Promise<void>;
};

/** Starts one; it connects when it first calls. */
export async function startGoDriver(options: {
  readonly driver: keyof typeof goDrivers;
  readonly socketPath: string;
  /** Whether it tries again after UNAVAILABLE, as drivers do. Default true. */
  readonly retry?: boolean;
  /** After how many seconds of silence it asks whether the other side is there, also without calls; at least 10. Default never, as drivers. */
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
  // A suite that is interrupted leaves nothing running.
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
