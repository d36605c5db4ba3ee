import { Client, type ServiceError, credentials, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { connect } from 'node:net';
import { Duplex } from 'node:stream';
import { eventually, http2At } from '../../../test/csi/harness.ts';
import {
  startCall,
  echo,
  frame,
  frames,
  maxMessageBytes,
  outcomeOf,
  serveUnary,
} from '../../../test/csi/unary-fixture.ts';
import { type UnaryCall, UnaryServer } from './server.ts';
import { type StatusName, frameMessage, statusCodes } from './wire.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of cleanups.splice(0).reverse()) await end();
});

async function serve(method?: (call: UnaryCall) => void) {
  const fixture = await serveUnary(method);
  cleanups.push(fixture.close);
  return fixture;
}

function rawClient(path: string) {
  const session = http2At(path);
  session.on('error', () => undefined);
  cleanups.push(() => session.destroy());
  return session;
}

/** A connection on which the test writes the bytes itself. */
function socketTo(path: string, bytes: readonly Buffer[], allowHalfOpen = false) {
  const socket = connect({ path, allowHalfOpen });
  socket.on('error', () => undefined).resume();
  socket.write(Buffer.concat([frames.preface, frames.settings, ...bytes]));
  cleanups.push(() => socket.destroy());
  return socket;
}

function grpcJs(path: string, authority = 'localhost') {
  const client = new Client(`unix:${path}`, credentials.createInsecure(), {
    'grpc.default_authority': authority,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
  });
  cleanups.push(() => client.close());
  return {
    close: () => client.close(),
    call(
      message: Buffer,
      { timeoutMs, to = '/test/Call' }: { timeoutMs?: number; to?: string } = {},
    ) {
      const same = (bytes: Buffer): Buffer => bytes;
      let cancel = (): void => undefined;
      const result = new Promise<{ code: string; text: string; message?: Buffer | undefined }>(
        (resolve) => {
          const options = timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
          const done = (error: ServiceError | null, response?: Buffer): void =>
            resolve(
              error === null
                ? { code: 'OK', text: '', message: response }
                : { code: status[error.code], text: error.details },
            );
          const call = client.makeUnaryRequest(to, same, same, message, options, done);
          cancel = () => call.cancel();
        },
      );
      return { result, cancel };
    },
  };
}

describe('a grpc-js client', () => {
  test('gets concurrent messages of any size back unchanged', async () => {
    const { path, count } = await serve();
    const client = grpcJs(path);
    const sizes = [0, 1, 4, 16_379, 16_384, 65_530, 65_535, 65_536, 200_000, maxMessageBytes];
    const messages = sizes.map((size, n) => Buffer.alloc(size, n));
    const results = await Promise.all(messages.map((message) => client.call(message).result));
    results.forEach(({ message }, n) => expect(message?.equals(messages[n]!)).toBe(true));
    expect(count).toEqual({ started: sizes.length, closed: sizes.length, closedTwice: 0 });
  });

  test('receives every status with any text', async () => {
    const names = Object.keys(statusCodes).filter((name) => name !== 'OK') as StatusName[];
    const statuses = new Map<string, { status: StatusName; text: string }>();
    const { path } = await serve((call) =>
      call.fail(statuses.get(call.message.toString('latin1'))!),
    );
    const client = grpcJs(path);
    const unit = fc.constantFrom(
      '\ud800',
      '%',
      '2',
      ' ',
      'a',
      '\t',
      '\n',
      '\u0000',
      'ä',
      '😀',
      '\u202e',
    );
    const text = fc.string({ unit, maxLength: 40 });
    let calls = 0;
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...names), text, async (name, text) => {
        const id = String((calls += 1));
        statuses.set(id, { status: name, text });
        expect(await client.call(Buffer.from(id)).result).toEqual({
          code: name,
          text: text.toWellFormed(),
        });
      }),
    );
  });

  test('gets UNIMPLEMENTED for an unknown path', async () => {
    const { path, count } = await serve();
    for (const to of ['/test/Other', '/test/call', '/test/Call/', '/']) {
      expect(await grpcJs(path).call(Buffer.alloc(9), { to }).result).toEqual({
        code: 'UNIMPLEMENTED',
        text: 'there is no such method',
      });
    }
    expect(count.started).toBe(0);
  });

  test('passes its deadline to the method', async () => {
    const deadlines: number[] = [];
    const { path } = await serve((call) => {
      deadlines.push(call.deadline);
      echo(call);
    });
    const client = grpcJs(path);
    for (const timeoutMs of [20_000, 120_000, 200_000_000]) {
      const before = Date.now();
      await client.call(Buffer.of(1), { timeoutMs }).result;
      const after = Date.now();
      expect(deadlines.at(-1)).toBeGreaterThanOrEqual(before + timeoutMs);
      expect(deadlines.at(-1)).toBeLessThanOrEqual(after + timeoutMs);
    }
    await client.call(Buffer.of(1)).result;
    expect(deadlines.at(-1)).toBe(Infinity);
  });

  test.each(['cancels', 'times out', 'disconnects'])(
    'closes a call once when it %s',
    async (how) => {
      const { path, count } = await serve(() => undefined);
      const client = grpcJs(path);
      const { result, cancel } = client.call(
        Buffer.of(1),
        how === 'times out' ? { timeoutMs: 60 } : {},
      );
      await eventually(() => expect(count.started).toBe(1));
      expect(count.closed).toBe(0);
      if (how === 'cancels') cancel();
      if (how === 'disconnects') disconnect(client, cancel);
      expect((await result).code).toMatch(/CANCELLED|DEADLINE_EXCEEDED/);
      await eventually(() => expect(count).toEqual({ started: 1, closed: 1, closedTwice: 0 }));
    },
  );

  const disconnect = (client: { close(): void }, cancel: () => void): void => {
    client.close();
    cancel();
  };
});

describe('a call', () => {
  test('sends only its first response, and none after the client has cancelled', async () => {
    const calls: UnaryCall[] = [];
    const { path, count } = await serve((call) => calls.push(call));
    const session = rawClient(path);
    const first = startCall(session);
    const outcome = outcomeOf(first);
    first.end(frameMessage(Buffer.from('a')));
    const second = startCall(session);
    second.end(frameMessage(Buffer.from('b')));
    await eventually(() => expect(calls).toHaveLength(2));
    const [one, two] = calls as [UnaryCall, UnaryCall];
    one.fail({ status: 'NOT_FOUND', text: 'first' });
    one.respond(frameMessage(Buffer.from('late')));
    one.fail({ status: 'INTERNAL', text: 'late' });
    expect(await outcome).toMatchObject({ http: 200, status: '5', text: 'first', reset: 0 });
    second.close(8);
    await eventually(() => expect(count.closed).toBe(2));
    two.respond(frameMessage(Buffer.from('late')));
    two.fail({ status: 'INTERNAL', text: 'late' });
    expect(count).toEqual({ started: 2, closed: 2, closedTwice: 0 });
  });

  test('closes when its last byte has left', async () => {
    const { path, count } = await serve((call) =>
      call.respond(frameMessage(Buffer.alloc(1_000_000))),
    );
    const stream = startCall(rawClient(path));
    stream.end(frameMessage(Buffer.of(1)));
    await new Promise((resolve) => stream.once('response', resolve));
    expect(count).toMatchObject({ started: 1, closed: 0 });
    expect((await outcomeOf(stream)).body).toHaveLength(1_000_005);
    await eventually(() => expect(count).toEqual({ started: 1, closed: 1, closedTwice: 0 }));
  });

  test('may arrive byte by byte', async () => {
    const { path } = await serve();
    const stream = startCall(rawClient(path));
    const outcome = outcomeOf(stream);
    const body = frameMessage(Buffer.from('slowly'));
    for (const byte of body) await new Promise((resolve) => stream.write(Buffer.of(byte), resolve));
    stream.end();
    expect(await outcome).toMatchObject({ status: '0', body });
  });

  const half = frameMessage(Buffer.alloc(100)).subarray(0, 50);
  const two = Buffer.concat([frameMessage(Buffer.of(1)), frameMessage(Buffer.of(2))]);
  const tooLong = frameMessage(Buffer.alloc(maxMessageBytes + 1));
  test.each<[string, Buffer, Record<string, string | string[]>]>([
    ['no message', Buffer.alloc(0), {}],
    ['an incomplete message', half, {}],
    ['an incomplete message', half.subarray(0, 3), {}],
    ['more than one message', two, {}],
    [
      'a compressed message, and compression was not negotiated',
      Buffer.from('010000000101', 'hex'),
      {},
    ],
    ['more than 1048576 bytes', tooLong, {}],
    ['an invalid grpc-timeout', frameMessage(Buffer.of(1)), { 'grpc-timeout': '-1m' }],
    ['an invalid grpc-timeout', frameMessage(Buffer.of(1)), { 'grpc-timeout': ['1S', '2S'] }],
  ])('with %s is rejected', async (problem, body, headers) => {
    const { path, count } = await serve();
    const stream = startCall(rawClient(path), headers);
    stream.end(body);
    expect(await outcomeOf(stream)).toMatchObject({
      http: 200,
      status: '3',
      text: `the request has ${problem}`,
    });
    expect(count.started).toBe(0);
  });

  test('above the size limit is rejected before all of it has arrived', async () => {
    const { path } = await serve();
    const session = rawClient(path);
    for (let n = 0; n < 50; n += 1) {
      const stream = startCall(session);
      stream.write(Buffer.alloc(maxMessageBytes + 6));
      expect(await outcomeOf(stream)).toMatchObject({ status: '3', text: /more than/ });
    }
    // What came after the rejections has not used up the connection's window.
    const stream = startCall(session);
    stream.end(frameMessage(Buffer.alloc(500_000)));
    expect(await outcomeOf(stream)).toMatchObject({ status: '0' });
  });

  test.each<[string, Record<string, string | undefined>]>([
    ['the method GET', { ':method': 'GET' }],
    ['the method HEAD', { ':method': 'HEAD' }],
    ['no content type', { 'content-type': undefined }],
    ['another content type', { 'content-type': 'application/json' }],
  ])('with %s gets HTTP 415', async (_, headers) => {
    const { path, sockets, count } = await serve();
    // The client does not end the body, and the server does not wait for it.
    const stream = startCall(rawClient(path), headers);
    expect(await outcomeOf(stream)).toMatchObject({ http: 415, status: undefined });
    expect(sockets.size).toBe(1);
    expect(count.started).toBe(0);
  });

  test('may omit te and may name its encoding', async () => {
    const { path } = await serve();
    const session = rawClient(path);
    for (const headers of [{ te: undefined }, { 'content-type': 'application/grpc+proto' }]) {
      const stream = startCall(session, headers);
      stream.end(frameMessage(Buffer.of(1)));
      expect(await outcomeOf(stream)).toMatchObject({
        status: '0',
        headers: { 'content-type': 'application/grpc+proto' },
      });
    }
  });
});

describe('close', () => {
  test('lets calls in flight finish, and clients open no new ones', async () => {
    const calls: UnaryCall[] = [];
    const { path, server } = await serve((call) => calls.push(call));
    const session = rawClient(path);
    const stream = startCall(session);
    const outcome = outcomeOf(stream);
    stream.end(frameMessage(Buffer.from('x')));
    await eventually(() => expect(calls).toHaveLength(1));
    const goaway = new Promise<[number, number]>((resolve) =>
      session.once('goaway', (code: number, last: number) => resolve([code, last])),
    );
    const closed = server.close(10_000);
    expect(await goaway).toEqual([0, 2 ** 31 - 1]);
    expect(session.closed).toBe(true);
    // The client opens another connection for its next call.
    await new Promise((resolve) => setTimeout(resolve, 20));
    echo(calls[0]!);
    expect(await outcome).toMatchObject({ status: '0', body: frameMessage(Buffer.from('x')) });
    await closed;
  });

  test('destroys the connections that stay open, and closes their calls', async () => {
    const { path, server, count } = await serve(() => undefined);
    const stream = startCall(rawClient(path));
    stream.end(frameMessage(Buffer.of(1)));
    await eventually(() => expect(count.started).toBe(1));
    const outcome = outcomeOf(stream);
    await server.close(30);
    expect((await outcome).status).toBeUndefined();
    expect(count).toEqual({ started: 1, closed: 1, closedTwice: 0 });
  });

  test.each<[string, readonly Buffer[]]>([
    ['sends nothing', []],
    ['has sent GOAWAY', [frames.goaway]],
    [
      'has sent a request and does not read',
      [frames.wide, frames.headers(1), frames.data(1, frameMessage(Buffer.of(1)), true)],
    ],
  ])('ends in time when a client %s and does not disconnect', async (_, bytes) => {
    const { path, server, sockets, count } = await serve((call) =>
      call.respond(frameMessage(Buffer.alloc(4_000_000))),
    );
    const socket = socketTo(path, bytes, true);
    socket.pause();
    await eventually(() => expect(sockets.size).toBe(1));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await server.close(30);
    await eventually(() => expect(sockets.size).toBe(0));
    expect(count.closed).toBe(count.started);
  });

  test('ends in time when a client acknowledges the ping and does not disconnect', async () => {
    const { path, server, sockets } = await serve();
    const socket = socketTo(path, [], true);
    const ping = Buffer.from('000008060000000000', 'hex');
    let acknowledged = 0;
    socket.on('data', (read: Buffer) => {
      const at = read.indexOf(ping);
      if (at < 0) return;
      acknowledged += 1;
      socket.write(frame(6, 1, 0, read.subarray(at + 9, at + 17)));
    });
    await eventually(() => expect(sockets.size).toBe(1));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await server.close(50);
    expect(acknowledged).toBe(1);
  });

  test('serves a request that was on its way over an idle connection', async () => {
    const { path, server, sockets } = await serve();
    const socket = socketTo(path, [], true);
    await eventually(() => expect(sockets.size).toBe(1));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const ping = Buffer.from('000008060000000000', 'hex');
    const body = frameMessage(Buffer.from('sent before the GOAWAY was read'));
    let received = Buffer.alloc(0);
    socket.on('end', () => socket.end());
    socket.on('data', (read: Buffer) => {
      received = Buffer.concat([received, read]);
      const at = read.indexOf(ping);
      if (at < 0) return;
      socket.write(Buffer.concat([frames.headers(1), frames.data(1, body, true)]));
      socket.write(frame(6, 1, 0, read.subarray(at + 9, at + 17)));
    });
    // Far beyond the time limit of the test: close must not wait for it.
    await server.close(600_000);
    await eventually(() => expect(received.includes(body)).toBe(true));
  });

  test('ends when a client disconnects at any moment', async () => {
    const { path, server } = await serve();
    for (let n = 0; n < 40; n += 1) {
      const session = http2At(path);
      session.on('error', () => undefined);
      const stream = startCall(session);
      stream.end(frameMessage(Buffer.of(1)));
      await outcomeOf(stream);
      if (n % 2 === 0) session.close();
      else session.destroy();
      for (let ticks = n % 5; ticks > 0; ticks -= 1) await new Promise(setImmediate);
      await server.close(100);
    }
  });

  test('ends at once without connections, and when a connection ended before it was accepted', async () => {
    const server = new UnaryServer({
      methods: new Map(),
      maxMessageBytes: 1,
      toInvalidCallStatus: () => ({ status: 'INTERNAL', text: '' }),
    });
    await server.close(10_000);
    const idleDuplex = (): Duplex =>
      new Duplex({ read: () => undefined, write: (_, __, done) => done() });
    const before = idleDuplex().destroy();
    await new Promise((resolve) => before.once('close', resolve));
    server.accept(before);
    const after = idleDuplex();
    server.accept(after);
    after.destroy();
    await server.close(10_000);
  });
});
