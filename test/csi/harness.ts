import { status, type ServiceError } from '@grpc/grpc-js';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type ClientHttp2Session } from 'node:http2';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { CsiServer, type CsiServerOptions } from '../../src/csi/server.ts';
import { GrpcJsClient } from '../driver/grpc-js.ts';
import type { MountMessage, MountResponse } from '../../src/csi/messages.ts';
import type { Volume } from '../../src/mount/types.ts';

const emptyRequest: MountMessage = {
  attributes: '',
  secrets: '',
  targetPath: '',
  permission: '',
  currentObjectVersion: [],
};

/** A small volume. */
export const volume: Volume = {
  files: [{ path: 'db/password', mode: 0o644, contents: Buffer.from('s3cret') }],
  versions: [{ id: 'db/password', version: 'v1' }],
};

/** A client that behaves like the driver, by default like versions from 1.6 on. */
export function driver(path: string, authority = 'localhost') {
  const client = new GrpcJsClient(path, authority, {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.max_receive_message_length': -1,
  });
  return {
    client,
    /** Starts a mount. `result` resolves to the code, and the text or the response. */
    start(request: Partial<MountMessage> = {}, timeoutMs?: number) {
      let cancel = (): void => undefined;
      const result = new Promise<{ code: string; text: string; response?: MountResponse }>(
        (resolve) => {
          const deadline = timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
          const call = client.mount(
            { ...emptyRequest, ...request },
            deadline,
            (error: ServiceError | null, response) => {
              if (error !== null) resolve({ code: status[error.code], text: error.details });
              else resolve({ code: 'OK', text: '', ...(response && { response }) });
            },
          );
          cancel = () => call.cancel();
        },
      );
      return { result, cancel };
    },
    async version() {
      return new Promise<{ version: string; runtimeName: string; runtimeVersion: string }>(
        (resolve, reject) => {
          client.version({}, (error, response) =>
            response === undefined ? reject(new Error(error?.details)) : resolve(response),
          );
        },
      );
    },
    close: () => client.close(),
  };
}

/** A plain HTTP/2 client on a unix socket. */
export function http2At(path: string, socket = createConnection(path)): ClientHttp2Session {
  return connect('http://localhost', { createConnection: () => socket });
}

/** Sends bytes as the body of a Mount over HTTP/2 and returns the status. */
export async function callRaw(
  session: ClientHttp2Session,
  body: Buffer | undefined,
  headers: Record<string, string> = {},
): Promise<{ code: string; text: string; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': '/v1alpha1.CSIDriverProvider/Mount',
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    const parts: Buffer[] = [];
    let found: Record<string, string | string[] | undefined> = {};
    stream.on('response', (received: typeof found) => (found = { ...found, ...received }));
    stream.on('trailers', (trailers: typeof found) => (found = { ...found, ...trailers }));
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('error', reject);
    stream.on('close', () =>
      resolve({
        code: status[Number(found['grpc-status'])] ?? `none, reset code ${stream.rstCode}`,
        text: decodeURI([found['grpc-message']].join()),
        body: Buffer.concat(parts),
      }),
    );
    if (body === undefined) stream.end();
    else stream.end(body);
  });
}

/** A gRPC message with its prefix. */
export function grpcMessage(payload: Buffer, compressed = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(compressed, 0);
  prefix.writeUInt32BE(payload.length, 1);
  return Buffer.concat([prefix, payload]);
}

/** Starts Keyferry's CSI server around a mount, in its own folder. */
export async function startFixture(
  mount: CsiServerOptions['mount'],
  options: Partial<CsiServerOptions> = {},
) {
  const folder = await mkdtemp(join(tmpdir(), 'kf-'));
  const registry = new Registry();
  const logged: string[] = [];
  const server = new CsiServer({
    mount,
    version: '1.2.3',
    providers: ['cce'],
    providersDir: folder,
    log: pino({ level: 'debug' }, { write: (line: string) => logged.push(line) }),
    registry,
    goodbyeMs: 200,
    ...options,
  });
  const port = await server.start().catch(async (error: unknown) => {
    await rm(folder, { recursive: true });
    throw error;
  });
  const drivers: { close(): void }[] = [];
  return {
    folder,
    path: join(folder, 'cce.sock'),
    server,
    registry,
    port,
    log: () => logged.join(''),
    driver(authority?: string) {
      const one = driver(join(folder, 'cce.sock'), authority);
      drivers.push(one);
      return one;
    },
    async close() {
      for (const one of drivers) one.close();
      await server.drain(0);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Waits until `check` no longer throws, in real time even where a test fakes the timers. */
export async function eventually(
  check: () => Promise<void> | void,
  withinMs = 10_000,
): Promise<void> {
  const end = Date.now() + withinMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > end) throw error;
      await sleep(5);
    }
  }
}
