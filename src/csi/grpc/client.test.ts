import { Metadata, Server, ServerCredentials, type handleUnaryCall, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { mkdtemp, rm } from 'node:fs/promises';
import {
  type Http2Server,
  type ServerHttp2Stream,
  createServer as createHttp2Server,
} from 'node:http2';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { missingPath } from '../../../test/missing-path.ts';
import { eventually } from '../../../test/csi/harness.ts';
import { serveUnary } from '../../../test/csi/unary-fixture.ts';
import { UnaryClient } from './client.ts';
import type { UnaryCall } from './server.ts';
import { type StatusName, frameMessage, statusCodes } from './wire.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of cleanups.splice(0).reverse()) await end();
});

async function temporarySocketPath(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kf-'));
  cleanups.push(() => rm(folder, { recursive: true }));
  return join(folder, 'unary.sock');
}

function clientOf(socketPath: string, maxMessageBytes = 1024 * 1024) {
  const client = new UnaryClient({ socketPath, authority: 'localhost', maxMessageBytes });
  cleanups.push(() => client.close());
  return client;
}

/** A grpc-js server with one method. */
async function grpcJsServer(method: handleUnaryCall<Buffer, Buffer>): Promise<string> {
  const path = await temporarySocketPath();
  const same = (bytes: Buffer): Buffer => bytes;
  const codec = {
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
  const server = new Server();
  server.addService(
    { Call: { path: '/test/Call', requestStream: false, responseStream: false, ...codec } },
    { Call: method },
  );
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    ),
  );
  cleanups.push(() => server.forceShutdown());
  return path;
}

/** An HTTP/2 server whose responses no gRPC server would send. */
async function rawServer(respond: (stream: ServerHttp2Stream) => void): Promise<string> {
  const path = await temporarySocketPath();
  const server: Http2Server = createHttp2Server();
  server.on('stream', (stream) => {
    stream.on('error', () => undefined).resume();
    respond(stream);
  });
  server.on('session', (session) => cleanups.push(() => session.destroy()));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  cleanups.push(() => server.close());
  return path;
}

const request = Buffer.from('request');

describe('a grpc-js server', () => {
  test('returns concurrent messages of any size unchanged', async () => {
    const client = clientOf(await grpcJsServer(({ request }, done) => done(null, request)));
    const messages = [0, 1, 4, 16_379, 16_384, 65_535, 200_000, 1024 * 1024].map((size, n) =>
      Buffer.alloc(size, n),
    );
    const results = await Promise.all(
      messages.map((message) => client.call('/test/Call', message, {})),
    );
    results.forEach((result, n) =>
      expect(result.code === 'OK' && result.response.equals(messages[n]!)).toBe(true),
    );
  });

  test('delivers every status with any text', async () => {
    const statuses = new Map<string, { code: status; details: string }>();
    const path = await grpcJsServer(({ request }, done) => done(statuses.get(request.toString())!));
    const client = clientOf(path);
    const names = Object.keys(statusCodes).filter((name) => name !== 'OK') as StatusName[];
    const unit = fc.constantFrom('%', '2', ' ', 'a', '\t', '\n', '\u0000', 'ä', '😀', '\u202e');
    let calls = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...names),
        fc.string({ unit, minLength: 1, maxLength: 40 }),
        async (code, details) => {
          const id = String((calls += 1));
          statuses.set(id, { code: status[code], details });
          expect(await client.call('/test/Call', Buffer.from(id), {})).toEqual({
            code,
            message: details,
          });
        },
      ),
    );
  });

  test('receives the deadline, and may send other trailers', async () => {
    const deadlines: number[] = [];
    const path = await grpcJsServer((call, done) => {
      deadlines.push(Number(call.getDeadline()));
      const trailers = new Metadata();
      trailers.set('x-more', 'y');
      done(null, call.request, trailers);
    });
    const client = clientOf(path);
    for (const timeoutMs of [20_000, 120_000, undefined]) {
      const before = Date.now();
      expect(await client.call('/test/Call', request, { timeoutMs })).toEqual({
        code: 'OK',
        response: request,
      });
      const after = Date.now();
      expect(deadlines.at(-1)).toBeGreaterThanOrEqual(before + (timeoutMs ?? Infinity));
      expect(deadlines.at(-1)).toBeLessThanOrEqual(after + (timeoutMs ?? Infinity));
    }
  });

  test.each(['times out', 'is cancelled'])(
    'sees the cancellation of a call that %s',
    async (how) => {
      let cancelled = 0;
      let started = 0;
      const path = await grpcJsServer((call) => {
        started += 1;
        call.on('cancelled', () => (cancelled += 1));
      });
      const controller = new AbortController();
      const options = how === 'times out' ? { timeoutMs: 60_000 } : { signal: controller.signal };
      jest.useFakeTimers({
        doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask', 'performance'],
      });
      try {
        const result = clientOf(path).call('/test/Call', request, options);
        await eventually(() => expect(started).toBe(1));
        if (how === 'times out') jest.advanceTimersByTime(60_000);
        else controller.abort();
        // With the client's own message: the server has a deadline of its own.
        expect(await result).toEqual(
          how === 'times out'
            ? { code: 'DEADLINE_EXCEEDED', message: 'no response came before the deadline' }
            : { code: 'CANCELLED', message: 'the caller cancelled the call' },
        );
        await eventually(() => expect(cancelled).toBe(1));
      } finally {
        jest.useRealTimers();
      }
    },
  );

  test('cannot send a response above the limit', async () => {
    const client = clientOf(
      await grpcJsServer((_, done) => done(null, Buffer.alloc(3_000_000))),
      1_000_000,
    );
    expect(await client.call('/test/Call', request, {})).toEqual({
      code: 'RESOURCE_EXHAUSTED',
      message: 'the response has more than 1000000 bytes',
    });
  });

  test('responds UNIMPLEMENTED to an unknown path', async () => {
    const client = clientOf(await grpcJsServer((_, done) => done(null, request)));
    expect(await client.call('/test/Other', request, {})).toMatchObject({ code: 'UNIMPLEMENTED' });
  });
});

describe('a call', () => {
  test('does not time out early, however long its timeout is', async () => {
    const fixture = await serveUnary((call) =>
      setTimeout(() => call.respond(frameMessage(request)), 20),
    );
    cleanups.push(fixture.close);
    const client = clientOf(fixture.path);
    for (const timeoutMs of [2 ** 31, 1e15, Infinity])
      expect(await client.call('/test/Call', request, { timeoutMs })).toEqual({
        code: 'OK',
        response: request,
      });
  });

  test('is not sent when its signal has already fired', async () => {
    const signal = AbortSignal.abort();
    expect(await clientOf(missingPath()).call('/test/Call', request, { signal })).toMatchObject({
      code: 'CANCELLED',
    });
  });

  test('fails with the reason when nothing listens on the socket', async () => {
    const client = clientOf(await temporarySocketPath());
    for (const result of [client.call('/', request, {}), client.call('/', request, {})])
      expect(await result).toMatchObject({
        code: 'UNAVAILABLE',
        message: expect.stringMatching(/ENOENT/),
      });
    expect(await client.call('/', request, {})).toMatchObject({ code: 'UNAVAILABLE' });
  });

  test('returns UNAVAILABLE from a server that disconnects or does not speak HTTP/2', async () => {
    const path = await temporarySocketPath();
    let isDisconnecting = true;
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      if (isDisconnecting) socket.destroy();
      else socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    cleanups.push(() => server.close());
    const client = clientOf(path);
    expect(await client.call('/', request, { timeoutMs: 5_000 })).toMatchObject({
      code: 'UNAVAILABLE',
    });
    isDisconnecting = false;
    expect(await client.call('/', request, { timeoutMs: 5_000 })).toMatchObject({
      code: 'UNAVAILABLE',
    });
  });

  test.each<[string, (stream: ServerHttp2Stream) => void, object]>([
    [
      'an HTTP error',
      (stream) => stream.respond({ ':status': 503 }, { endStream: true }),
      { code: 'UNKNOWN', message: 'the response is HTTP 503, not gRPC' },
    ],
    [
      'no status',
      (stream) => stream.respond({ ':status': 200 }, { endStream: true }),
      { code: 'INTERNAL', message: expect.stringContaining('without a status') },
    ],
    [
      'an unknown status',
      (stream) =>
        stream.respond({ 'grpc-status': '99', 'grpc-message': '%zz' }, { endStream: true }),
      { code: 'UNKNOWN', message: '%zz' },
    ],
    [
      'OK without a message',
      (stream) => stream.respond({ 'grpc-status': '0' }, { endStream: true }),
      { code: 'INTERNAL', message: 'the response has no message' },
    ],
    ['a refused stream', (stream) => stream.close(7), { code: 'UNAVAILABLE' }],
    ['a reset', (stream) => stream.close(2), { code: 'INTERNAL' }],
    ['the end of the connection', (stream) => stream.session?.destroy(), { code: 'UNAVAILABLE' }],
    ['a GOAWAY with an error', (stream) => stream.session?.goaway(11), { code: 'UNAVAILABLE' }],
  ])('fails with a code when it gets %s', async (_, respond, expected) => {
    const client = clientOf(await rawServer(respond));
    expect(await client.call('/test/Call', request, { timeoutMs: 5_000 })).toMatchObject(expected);
    // The next call fails the same way, over a new connection if the old one has ended.
    expect(await client.call('/test/Call', request, { timeoutMs: 5_000 })).toMatchObject(expected);
  });

  test('uses a new connection after the server begins to close, and one in flight finishes', async () => {
    const calls: UnaryCall[] = [];
    const fixture = await serveUnary((call) => calls.push(call));
    cleanups.push(fixture.close);
    const client = clientOf(fixture.path);
    const first = client.call('/test/Call', request, {});
    await eventually(() => expect(calls).toHaveLength(1));
    const closed = fixture.server.close(10_000);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const second = client.call('/test/Call', request, {});
    await eventually(() => expect(calls).toHaveLength(2));
    expect(fixture.sockets.size).toBe(2);
    for (const call of calls) call.respond(frameMessage(call.message));
    expect(await Promise.all([first, second])).toEqual([
      { code: 'OK', response: request },
      { code: 'OK', response: request },
    ]);
    await closed;
  });

  test('may be one of many large ones', async () => {
    const fixture = await serveUnary();
    cleanups.push(fixture.close);
    const client = clientOf(fixture.path);
    const message = Buffer.alloc(1024 * 1024);
    const results = Array.from({ length: 30 }, () => client.call('/test/Call', message, {}));
    expect((await Promise.all(results)).filter(({ code }) => code !== 'OK')).toEqual([]);
  });
});
