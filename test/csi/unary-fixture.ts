import { mkdtemp, rm } from 'node:fs/promises';
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DriverConnection } from '../../src/csi/authority-rewrite.ts';
import { createUnaryServer, type UnaryCall } from '../../src/csi/grpc/server.ts';
import { frameMessage } from '../../src/csi/grpc/wire.ts';

/** What the rig's server takes at most. */
export const maxMessageBytes = 1024 * 1024;

/** A unary server on a socket of its own, around one method `/test/Call`, that keeps account of its calls. */
export async function serveUnary(method: (call: UnaryCall) => void = echo) {
  const folder = await mkdtemp(join(tmpdir(), 'kf-'));
  const path = join(folder, 'unary.sock');
  const count = { begun: 0, over: 0, overTwice: 0 };
  const sockets = new Set<Socket>();
  const server = createUnaryServer({
    methods: new Map([
      [
        '/test/Call',
        (call) => {
          count.begun += 1;
          let over = 0;
          call.onStreamClose(() => {
            over += 1;
            if (over === 1) count.over += 1;
            else count.overTwice += 1;
          });
          method(call);
        },
      ],
    ]),
    maxMessageBytes,
    toInvalidCallStatus: (problem) => ({
      status: 'INVALID_ARGUMENT',
      text: `a call came ${problem}`,
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
    /** Connections that are open. */
    sockets,
    async close() {
      listener.close();
      await server.close(0);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Answers with what came. */
export function echo(call: UnaryCall): void {
  call.respond(frameMessage(call.message));
}

/** Begins a call, whose body is the caller's to send; its errors are swallowed. */
export function beginCall(
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

/** All that comes back on a stream, once it is closed. */
export async function outcomeOf(stream: ClientHttp2Stream) {
  const parts: Buffer[] = [];
  let headers: Record<string, unknown> = {};
  const note = (came: Record<string, unknown>): void => void (headers = { ...headers, ...came });
  stream.on('response', note);
  stream.on('trailers', note);
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

/** HTTP/2 by hand, for what no client would send. */
export const frames = {
  preface: Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  settings: frame(4, 0, 0, Buffer.alloc(0)),
  settingsAck: frame(4, 1, 0, Buffer.alloc(0)),
  ping: frame(6, 0, 0, Buffer.alloc(8)),
  /** Room for answers without end. */
  wide: Buffer.concat([
    frame(4, 0, 0, Buffer.from('00047fffffff', 'hex')),
    frame(8, 0, 0, uint32(2 ** 30)),
  ]),
  goaway: frame(7, 0, 0, Buffer.alloc(8)),
  reset: (stream: number, code = 8) => frame(3, 0, stream, uint32(code)),
  data: (stream: number, body: Buffer, last: boolean) => frame(0, last ? 1 : 0, stream, body),
  /** A call's, each header a literal without compression. */
  headers: (stream: number, given: Readonly<Record<string, string>> = {}, last = false) =>
    frame(1, last ? 5 : 4, stream, headerBlock(given)),
};

/** A frame of HTTP/2. */
export function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function headerBlock(given: Readonly<Record<string, string>>): Buffer {
  const headers = {
    ':method': 'POST',
    ':scheme': 'http',
    ':path': '/test/Call',
    ':authority': 'localhost',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...given,
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
