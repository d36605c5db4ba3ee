import { Metadata, Server, ServerCredentials, type handleUnaryCall, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
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
import { eventually } from '../../../test/csi/harness.ts';
import { serveUnary } from '../../../test/csi/unary-fixture.ts';
import { createUnaryClient } from './client.ts';
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
  const client = createUnaryClient({ socketPath, authority: 'localhost', maxMessageBytes });
  cleanups.push(() => client.close());
  return client;
}

/** A server of grpc-js around one method. */
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

/** A server of HTTP/2 that answers as no gRPC server would. */
async function bareServer(answer: (stream: ServerHttp2Stream) => void): Promise<string> {
  const path = await temporarySocketPath();
  const server: Http2Server = createHttp2Server();
  server.on('stream', (stream) => {
    stream.on('error', () => undefined).resume();
    answer(stream);
  });
  server.on('session', (session) => cleanups.push(() => session.destroy()));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  cleanups.push(() => server.close());
  return path;
}

const request = Buffer.from('ask');

describe('from a server of grpc-js', () => {
  test('messages of any size and any number at once come back as they went', async () => {
    const client = clientOf(await grpcJsServer(({ request }, done) => done(null, request)));
    const messages = [0, 1, 4, 16_379, 16_384, 65_535, 200_000, 1024 * 1024].map((size, n) =>
      Buffer.alloc(size, n),
    );
    const answers = await Promise.all(
      messages.map((message) => client.call('/test/Call', message, {})),
    );
    answers.forEach((answer, n) =>
      expect(answer.code === 'OK' && answer.response.equals(messages[n]!)).toBe(true),
    );
  });

  test('every status arrives, with any text', async () => {
    const endings = new Map<string, { code: status; details: string }>();
    const path = await grpcJsServer(({ request }, done) => done(endings.get(request.toString())!));
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
          endings.set(id, { code: status[code], details });
          expect(await client.call('/test/Call', Buffer.from(id), {})).toEqual({
            code,
            message: details,
          });
        },
      ),
    );
  });

  test('the deadline is told, and other trailers do no harm', async () => {
    const deadlines: number[] = [];
    const path = await grpcJsServer((call, done) => {
      deadlines.push(Number(call.getDeadline()) - Date.now());
      const trailers = new Metadata();
      trailers.set('x-more', 'y');
      done(null, call.request, trailers);
    });
    const client = clientOf(path);
    for (const timeoutMs of [1_000, 120_000, undefined])
      expect(await client.call('/test/Call', request, { timeoutMs })).toEqual({
        code: 'OK',
        response: request,
      });
    expect(deadlines[0]).toBeGreaterThan(800);
    expect(deadlines[0]).toBeLessThanOrEqual(1_000);
    expect(deadlines[1]).toBeGreaterThan(119_000);
    expect(deadlines[2]).toBe(Infinity);
  });

  test.each(['is late', 'is cancelled'])('a call that %s is given up there too', async (how) => {
    let cancelled = 0;
    let begun = 0;
    const path = await grpcJsServer((call) => {
      begun += 1;
      call.on('cancelled', () => (cancelled += 1));
    });
    const giveUp = new AbortController();
    const options = how === 'is late' ? { timeoutMs: 60 } : { signal: giveUp.signal };
    const answer = clientOf(path).call('/test/Call', request, options);
    await eventually(() => expect(begun).toBe(1));
    giveUp.abort();
    expect((await answer).code).toBe(how === 'is late' ? 'DEADLINE_EXCEEDED' : 'CANCELLED');
    await eventually(() => expect(cancelled).toBe(1));
  });

  test('an answer that is too long is not waited for', async () => {
    const client = clientOf(
      await grpcJsServer((_, done) => done(null, Buffer.alloc(3_000_000))),
      1_000_000,
    );
    expect(await client.call('/test/Call', request, {})).toEqual({
      code: 'RESOURCE_EXHAUSTED',
      message: 'the answer has more than 1000000 bytes',
    });
  });

  test('an unknown path is UNIMPLEMENTED', async () => {
    const client = clientOf(await grpcJsServer((_, done) => done(null, request)));
    expect(await client.call('/test/Other', request, {})).toMatchObject({ code: 'UNIMPLEMENTED' });
  });
});

describe('a call', () => {
  test('is not late before its time, however much of it there is', async () => {
    const rig = await serveUnary((call) =>
      setTimeout(() => call.respond(frameMessage(request)), 20),
    );
    cleanups.push(rig.close);
    const client = clientOf(rig.path);
    for (const timeoutMs of [2 ** 31, 1e15, Infinity])
      expect(await client.call('/test/Call', request, { timeoutMs })).toEqual({
        code: 'OK',
        response: request,
      });
  });

  test('whose signal has fired already is not made', async () => {
    const signal = AbortSignal.abort();
    expect(await clientOf('/nowhere').call('/test/Call', request, { signal })).toMatchObject({
      code: 'CANCELLED',
    });
  });

  test('to where nobody listens says why', async () => {
    const client = clientOf(await temporarySocketPath());
    for (const answer of [client.call('/', request, {}), client.call('/', request, {})])
      expect(await answer).toMatchObject({
        code: 'UNAVAILABLE',
        message: expect.stringMatching(/ENOENT/),
      });
    expect(await client.call('/', request, {})).toMatchObject({ code: 'UNAVAILABLE' });
  });

  test('to what speaks no HTTP/2, or hangs up, says so', async () => {
    const path = await temporarySocketPath();
    let hangUp = true;
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      if (hangUp) socket.destroy();
      else socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    cleanups.push(() => server.close());
    const client = clientOf(path);
    expect(await client.call('/', request, { timeoutMs: 5_000 })).toMatchObject({
      code: 'UNAVAILABLE',
    });
    hangUp = false;
    expect(await client.call('/', request, { timeoutMs: 5_000 })).toMatchObject({
      code: 'UNAVAILABLE',
    });
  });

  test.each<[string, (stream: ServerHttp2Stream) => void, object]>([
    [
      'an HTTP error',
      (stream) => stream.respond({ ':status': 503 }, { endStream: true }),
      { code: 'UNKNOWN', message: 'the answer is no gRPC but HTTP status 503' },
    ],
    [
      'no status',
      (stream) => stream.respond({ ':status': 200 }, { endStream: true }),
      { code: 'INTERNAL', message: expect.stringContaining('without a status') },
    ],
    [
      'a status that nobody knows',
      (stream) =>
        stream.respond({ 'grpc-status': '99', 'grpc-message': '%zz' }, { endStream: true }),
      { code: 'UNKNOWN', message: '%zz' },
    ],
    [
      'a status in place of a message',
      (stream) => stream.respond({ 'grpc-status': '0' }, { endStream: true }),
      { code: 'INTERNAL', message: 'the answer came without a message' },
    ],
    ['a refusal', (stream) => stream.close(7), { code: 'UNAVAILABLE' }],
    ['a reset', (stream) => stream.close(2), { code: 'INTERNAL' }],
    ['the end of the connection', (stream) => stream.session?.destroy(), { code: 'UNAVAILABLE' }],
    ['a goodbye for an error', (stream) => stream.session?.goaway(11), { code: 'UNAVAILABLE' }],
  ])('that gets %s fails with a code', async (_, answer, expected) => {
    const client = clientOf(await bareServer(answer));
    expect(await client.call('/test/Call', request, { timeoutMs: 5_000 })).toMatchObject(expected);
    // And so does the next, by a new connection where the old one has gone.
    expect(await client.call('/test/Call', request, { timeoutMs: 5_000 })).toMatchObject(expected);
  });

  test('goes to another connection where the server takes leave, and one under way to its end', async () => {
    const calls: UnaryCall[] = [];
    const rig = await serveUnary((call) => calls.push(call));
    cleanups.push(rig.close);
    const client = clientOf(rig.path);
    const first = client.call('/test/Call', request, {});
    await eventually(() => expect(calls).toHaveLength(1));
    const closed = rig.server.close(10_000);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const second = client.call('/test/Call', request, {});
    await eventually(() => expect(calls).toHaveLength(2));
    expect(rig.sockets.size).toBe(2);
    for (const call of calls) call.respond(frameMessage(call.message));
    expect(await Promise.all([first, second])).toEqual([
      { code: 'OK', response: request },
      { code: 'OK', response: request },
    ]);
    await closed;
  });

  test('may be one of many that are large', async () => {
    const rig = await serveUnary();
    cleanups.push(rig.close);
    const client = clientOf(rig.path);
    const message = Buffer.alloc(1024 * 1024);
    const answers = Array.from({ length: 30 }, () => client.call('/test/Call', message, {}));
    expect((await Promise.all(answers)).filter(({ code }) => code !== 'OK')).toEqual([]);
  });
});
