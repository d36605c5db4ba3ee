import { Client, type ServiceError, credentials, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { connect } from 'node:net';
import { Duplex } from 'node:stream';
import { eventually, http2At } from '../../../test/csi/harness.ts';
import {
  beginCall,
  echo,
  frame,
  frames,
  maxMessageBytes,
  outcomeOf,
  serveUnary,
} from '../../../test/csi/unary-fixture.ts';
import { type UnaryCall, createUnaryServer } from './server.ts';
import { type StatusName, frameMessage, statusCodes } from './wire.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of cleanups.splice(0).reverse()) await end();
});

async function serve(method?: (call: UnaryCall) => void) {
  const rig = await serveUnary(method);
  cleanups.push(rig.close);
  return rig;
}

function rawClient(path: string) {
  const session = http2At(path);
  session.on('error', () => undefined);
  cleanups.push(() => session.destroy());
  return session;
}

/** A connection whose bytes are the test's. */
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
      const answer = new Promise<{ code: string; text: string; message?: Buffer | undefined }>(
        (resolve) => {
          const options = timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
          const done = (error: ServiceError | null, came?: Buffer): void =>
            resolve(
              error === null
                ? { code: 'OK', text: '', message: came }
                : { code: status[error.code], text: error.details },
            );
          const call = client.makeUnaryRequest(to, same, same, message, options, done);
          cancel = () => call.cancel();
        },
      );
      return { answer, cancel };
    },
  };
}

describe('to a client of grpc-js', () => {
  test('messages of any size and any number at once come back as they went', async () => {
    const { path, count } = await serve();
    const client = grpcJs(path);
    const sizes = [0, 1, 4, 16_379, 16_384, 65_530, 65_535, 65_536, 200_000, maxMessageBytes];
    const messages = sizes.map((size, n) => Buffer.alloc(size, n));
    const answers = await Promise.all(messages.map((message) => client.call(message).answer));
    answers.forEach(({ message }, n) => expect(message?.equals(messages[n]!)).toBe(true));
    expect(count).toEqual({ begun: sizes.length, over: sizes.length, overTwice: 0 });
  });

  test('every status arrives, with any text', async () => {
    const names = Object.keys(statusCodes).filter((name) => name !== 'OK') as StatusName[];
    const endings = new Map<string, { status: StatusName; text: string }>();
    const { path } = await serve((call) =>
      call.fail(endings.get(call.message.toString('latin1'))!),
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
        endings.set(id, { status: name, text });
        expect(await client.call(Buffer.from(id)).answer).toEqual({
          code: name,
          text: text.toWellFormed(),
        });
      }),
    );
  });

  test('an unknown path is UNIMPLEMENTED', async () => {
    const { path, count } = await serve();
    for (const to of ['/test/Other', '/test/call', '/test/Call/', '/']) {
      expect(await grpcJs(path).call(Buffer.alloc(9), { to }).answer).toEqual({
        code: 'UNIMPLEMENTED',
        text: 'there is no such method',
      });
    }
    expect(count.begun).toBe(0);
  });

  test('its deadline is told', async () => {
    const deadlines: number[] = [];
    const { path } = await serve((call) => {
      deadlines.push(call.deadline - Date.now());
      echo(call);
    });
    const client = grpcJs(path);
    for (const timeoutMs of [1_000, 120_000, 200_000_000])
      await client.call(Buffer.of(1), { timeoutMs }).answer;
    [1_000, 120_000, 200_000_000].forEach((ms, n) => {
      expect(deadlines[n]).toBeLessThanOrEqual(ms);
      expect(deadlines[n]).toBeGreaterThan(ms * 0.8);
    });
    await client.call(Buffer.of(1)).answer;
    expect(deadlines[3]).toBe(Infinity);
  });

  test.each(['cancels', 'is late', 'goes away'])('a call is over once where it %s', async (how) => {
    const { path, count } = await serve(() => undefined);
    const client = grpcJs(path);
    const { answer, cancel } = client.call(
      Buffer.of(1),
      how === 'is late' ? { timeoutMs: 60 } : {},
    );
    await eventually(() => expect(count.begun).toBe(1));
    expect(count.over).toBe(0);
    if (how === 'cancels') cancel();
    if (how === 'goes away') rawKill(client, cancel);
    expect((await answer).code).toMatch(/CANCELLED|DEADLINE_EXCEEDED/);
    await eventually(() => expect(count).toEqual({ begun: 1, over: 1, overTwice: 0 }));
  });

  const rawKill = (client: { close(): void }, cancel: () => void): void => {
    client.close();
    cancel();
  };
});

describe('a call', () => {
  test('counts the first of its answers, and none after its caller has left', async () => {
    const calls: UnaryCall[] = [];
    const { path, count } = await serve((call) => calls.push(call));
    const session = rawClient(path);
    const first = beginCall(session);
    const outcome = outcomeOf(first);
    first.end(frameMessage(Buffer.from('a')));
    const second = beginCall(session);
    second.end(frameMessage(Buffer.from('b')));
    await eventually(() => expect(calls).toHaveLength(2));
    const [one, two] = calls as [UnaryCall, UnaryCall];
    one.fail({ status: 'NOT_FOUND', text: 'first' });
    one.respond(frameMessage(Buffer.from('late')));
    one.fail({ status: 'INTERNAL', text: 'late' });
    expect(await outcome).toMatchObject({ http: 200, status: '5', text: 'first', reset: 0 });
    second.close(8);
    await eventually(() => expect(count.over).toBe(2));
    two.respond(frameMessage(Buffer.from('late')));
    two.fail({ status: 'INTERNAL', text: 'late' });
    expect(count).toEqual({ begun: 2, over: 2, overTwice: 0 });
  });

  test('is over when its last byte has left', async () => {
    const { path, count } = await serve((call) =>
      call.respond(frameMessage(Buffer.alloc(1_000_000))),
    );
    const stream = beginCall(rawClient(path));
    stream.end(frameMessage(Buffer.of(1)));
    await new Promise((resolve) => stream.once('response', resolve));
    expect(count).toMatchObject({ begun: 1, over: 0 });
    expect((await outcomeOf(stream)).body).toHaveLength(1_000_005);
    await eventually(() => expect(count).toEqual({ begun: 1, over: 1, overTwice: 0 }));
  });

  test('may come byte by byte', async () => {
    const { path } = await serve();
    const stream = beginCall(rawClient(path));
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
    ['without a message', Buffer.alloc(0), {}],
    ['with half a message', half, {}],
    ['with half a message', half.subarray(0, 3), {}],
    ['with more than one message', two, {}],
    ['with a compressed message, which nobody was offered', Buffer.from('010000000101', 'hex'), {}],
    ['with more than 1048576 bytes', tooLong, {}],
    ['with a timeout that is none', frameMessage(Buffer.of(1)), { 'grpc-timeout': '-1m' }],
    ['with a timeout that is none', frameMessage(Buffer.of(1)), { 'grpc-timeout': ['1S', '2S'] }],
  ])('%s is refused', async (problem, body, headers) => {
    const { path, count } = await serve();
    const stream = beginCall(rawClient(path), headers);
    stream.end(body);
    expect(await outcomeOf(stream)).toMatchObject({
      http: 200,
      status: '3',
      text: `a call came ${problem}`,
    });
    expect(count.begun).toBe(0);
  });

  test('that is too long is refused before all of it has come', async () => {
    const { path } = await serve();
    const session = rawClient(path);
    for (let n = 0; n < 50; n += 1) {
      const stream = beginCall(session);
      stream.write(Buffer.alloc(maxMessageBytes + 6));
      expect(await outcomeOf(stream)).toMatchObject({ status: '3', text: /more than/ });
    }
    // What came after the refusals has not used up the connection.
    const stream = beginCall(session);
    stream.end(frameMessage(Buffer.alloc(500_000)));
    expect(await outcomeOf(stream)).toMatchObject({ status: '0' });
  });

  test.each<[string, Record<string, string | undefined>]>([
    ['another method', { ':method': 'GET' }],
    ['a HEAD', { ':method': 'HEAD' }],
    ['no content type', { 'content-type': undefined }],
    ['another content type', { 'content-type': 'application/json' }],
  ])('that is %s is no gRPC: 415', async (_, headers) => {
    const { path, sockets, count } = await serve();
    // Which does not end its body, and is not waited for.
    const stream = beginCall(rawClient(path), headers);
    expect(await outcomeOf(stream)).toMatchObject({ http: 415, status: undefined });
    expect(sockets.size).toBe(1);
    expect(count.begun).toBe(0);
  });

  test('needs no te, and may name its encoding', async () => {
    const { path } = await serve();
    const session = rawClient(path);
    for (const headers of [{ te: undefined }, { 'content-type': 'application/grpc+proto' }]) {
      const stream = beginCall(session, headers);
      stream.end(frameMessage(Buffer.of(1)));
      expect(await outcomeOf(stream)).toMatchObject({
        status: '0',
        headers: { 'content-type': 'application/grpc+proto' },
      });
    }
  });
});

describe('taking leave', () => {
  test('lets what runs end, and sends whoever has heard of it elsewhere', async () => {
    const calls: UnaryCall[] = [];
    const { path, server } = await serve((call) => calls.push(call));
    const session = rawClient(path);
    const stream = beginCall(session);
    const outcome = outcomeOf(stream);
    stream.end(frameMessage(Buffer.from('x')));
    await eventually(() => expect(calls).toHaveLength(1));
    const goodbye = new Promise<[number, number]>((resolve) =>
      session.once('goaway', (code: number, last: number) => resolve([code, last])),
    );
    const closed = server.close(10_000);
    expect(await goodbye).toEqual([0, 2 ** 31 - 1]);
    expect(session.closed).toBe(true);
    // It is its own client that opens another connection, and no new call comes by this one.
    await new Promise((resolve) => setTimeout(resolve, 20));
    echo(calls[0]!);
    expect(await outcome).toMatchObject({ status: '0', body: frameMessage(Buffer.from('x')) });
    await closed;
  });

  test('cuts off whoever stays, and ends its calls', async () => {
    const { path, server, count } = await serve(() => undefined);
    const stream = beginCall(rawClient(path));
    stream.end(frameMessage(Buffer.of(1)));
    await eventually(() => expect(count.begun).toBe(1));
    const outcome = outcomeOf(stream);
    const before = performance.now();
    await server.close(30);
    expect(performance.now() - before).toBeLessThan(1_000);
    expect((await outcome).status).toBeUndefined();
    expect(count).toEqual({ begun: 1, over: 1, overTwice: 0 });
  });

  test.each<[string, readonly Buffer[]]>([
    ['says nothing', []],
    ['has said goodbye', [frames.goaway]],
    [
      'has asked for all and reads nothing',
      [frames.wide, frames.headers(1), frames.data(1, frameMessage(Buffer.of(1)), true)],
    ],
  ])('is done in time with a client that %s, and does not hang up', async (_, bytes) => {
    const { path, server, sockets, count } = await serve((call) =>
      call.respond(frameMessage(Buffer.alloc(4_000_000))),
    );
    const socket = socketTo(path, bytes, true);
    socket.pause();
    await eventually(() => expect(sockets.size).toBe(1));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const before = performance.now();
    await server.close(30);
    expect(performance.now() - before).toBeLessThan(1_000);
    await eventually(() => expect(sockets.size).toBe(0));
    expect(count.over).toBe(count.begun);
  });

  test('is done in time with a client that answers its ping, and does not hang up', async () => {
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
    const before = performance.now();
    await server.close(50);
    expect(performance.now() - before).toBeLessThan(1_000);
    expect(acknowledged).toBe(1);
  });

  test('serves what was on its way over a connection at rest', async () => {
    const { path, server, sockets } = await serve();
    const socket = socketTo(path, [], true);
    await eventually(() => expect(sockets.size).toBe(1));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const ping = Buffer.from('000008060000000000', 'hex');
    const body = frameMessage(Buffer.from('sent before the goodbye was read'));
    let received = Buffer.alloc(0);
    socket.on('end', () => socket.end());
    socket.on('data', (read: Buffer) => {
      received = Buffer.concat([received, read]);
      const at = read.indexOf(ping);
      if (at < 0) return;
      socket.write(Buffer.concat([frames.headers(1), frames.data(1, body, true)]));
      socket.write(frame(6, 1, 0, read.subarray(at + 9, at + 17)));
    });
    const before = performance.now();
    await server.close(5_000);
    expect(performance.now() - before).toBeLessThan(1_000);
    await eventually(() => expect(received.includes(body)).toBe(true));
  });

  test('is done where a client just leaves, at any moment', async () => {
    const { path, server } = await serve();
    for (let n = 0; n < 40; n += 1) {
      const session = http2At(path);
      session.on('error', () => undefined);
      const stream = beginCall(session);
      stream.end(frameMessage(Buffer.of(1)));
      await outcomeOf(stream);
      if (n % 2 === 0) session.close();
      else session.destroy();
      for (let turns = n % 5; turns > 0; turns -= 1) await new Promise(setImmediate);
      await server.close(100);
    }
  });

  test('is done at once where nobody came, and where a connection was gone before it was accepted', async () => {
    const server = createUnaryServer({
      methods: new Map(),
      maxMessageBytes: 1,
      toInvalidCallStatus: () => ({ status: 'INTERNAL', text: '' }),
    });
    await server.close(10_000);
    const gone = (): Duplex =>
      new Duplex({ read: () => undefined, write: (_, __, done) => done() });
    const before = gone().destroy();
    await new Promise((resolve) => before.once('close', resolve));
    server.accept(before);
    const meanwhile = gone();
    server.accept(meanwhile);
    meanwhile.destroy();
    await server.close(10_000);
  });
});
