import { mkdtemp, rm } from 'node:fs/promises';
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DriverConnection } from '../../src/csi/authority-rewrite.ts';
import { type UnaryCall, UnaryServer, type UnaryServerOptions } from '../../src/csi/grpc/server.ts';
import { frameMessage } from '../../src/csi/grpc/wire.ts';

/** The largest request that the server accepts. */
export const maxMessageBytes = 1024 * 1024;

/** A unary server on its own socket with one method, `/test/Call`. It counts its calls. */
export async function serveUnary(
  method: (call: UnaryCall) => void = echo,
  options: Pick<UnaryServerOptions, 'requestMemory'> = {},
) {
  const folder = await mkdtemp(join(tmpdir(), 'kf-'));
  const path = join(folder, 'unary.sock');
  const count = { started: 0, closed: 0, closedTwice: 0 };
  const sockets = new Set<Socket>();
  const server = new UnaryServer({
    methods: new Map([
      [
        '/test/Call',
        (call) => {
          count.started += 1;
          let closed = 0;
          call.onClose(() => {
            closed += 1;
            if (closed === 1) count.closed += 1;
            else count.closedTwice += 1;
          });
          method(call);
        },
      ],
    ]),
    maxMessageBytes,
    ...options,
    toInvalidCallStatus: (problem) => ({
      status: 'INVALID_ARGUMENT',
      text: `the request has ${problem}`,
    }),
  });
  const listener = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    server.accept(new DriverConnection(socket));
  });
  await new Promise<void>((resolve) => listener.listen(path, resolve));
  return {
    path,
    server,
    count,
    /** The open connections. */
    sockets,
    async close() {
      listener.close();
      await server.close(0);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Responds with the message of the request. */
export function echo(call: UnaryCall): void {
  call.respond(frameMessage(call.message));
}

/** Opens a call. The caller sends the body. Errors of the stream are ignored. */
export function startCall(
  session: ClientHttp2Session,
  headers: Readonly<Record<string, string | string[] | undefined>> = {},
): ClientHttp2Stream {
  const stream = session.request({
    ':method': 'POST',
    ':path': '/test/Call',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  stream.on('error', () => undefined);
  return stream;
}

/** Everything that came on a stream, when it has closed. */
export async function outcomeOf(stream: ClientHttp2Stream) {
  const parts: Buffer[] = [];
  let headers: Record<string, unknown> = {};
  const addHeaders = (received: Record<string, unknown>): void =>
    void (headers = { ...headers, ...received });
  stream.on('response', addHeaders);
  stream.on('trailers', addHeaders);
  stream.on('data', (part: Buffer) => parts.push(part));
  await new Promise((resolve) => stream.once('close', resolve));
  const { 'grpc-message': text = '' } = headers;
  return {
    http: headers[':status'],
    status: headers['grpc-status'],
    text: decodeURIComponent(text as string),
    headers,
    body: Buffer.concat(parts),
    reset: stream.rstCode,
  };
}

/** HTTP/2 frames built by hand, for requests that no client library sends. */
export const frames = {
  preface: Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  settings: frame(4, 0, 0, Buffer.alloc(0)),
  settingsAck: frame(4, 1, 0, Buffer.alloc(0)),
  ping: frame(6, 0, 0, Buffer.alloc(8)),
  /** The largest flow-control windows, so that the server may send without limit. */
  wide: Buffer.concat([
    frame(4, 0, 0, Buffer.from('00047fffffff', 'hex')),
    frame(8, 0, 0, uint32(2 ** 30)),
  ]),
  goaway: frame(7, 0, 0, Buffer.alloc(8)),
  reset: (stream: number, code = 8) => frame(3, 0, stream, uint32(code)),
  data: (stream: number, body: Buffer, last: boolean) => frame(0, last ? 1 : 0, stream, body),
  /** The headers of a call, each as a literal without compression. */
  headers: (stream: number, overrides: Readonly<Record<string, string>> = {}, last = false) =>
    frame(1, last ? 5 : 4, stream, headerBlock(overrides)),
};

/** An HTTP/2 frame. */
export function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function headerBlock(overrides: Readonly<Record<string, string>>): Buffer {
  const headers = {
    ':method': 'POST',
    ':scheme': 'http',
    ':path': '/test/Call',
    ':authority': 'localhost',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...overrides,
  };
  return Buffer.concat(
    Object.entries(headers).flatMap(([name, value]) => [
      Buffer.from([0, name.length]),
      Buffer.from(name),
      Buffer.from([value.length]),
      Buffer.from(value),
    ]),
  );
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
