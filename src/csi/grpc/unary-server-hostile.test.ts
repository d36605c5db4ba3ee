import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { createServer, type ServerHttp2Stream } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
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
import type { UnaryCall } from './server.ts';
import { frameMessage, messageHeaderBytes } from './wire.ts';

let fixture: Awaited<ReturnType<typeof serveUnary>>;
let method: (call: UnaryCall) => void;
const open: { destroy(): void }[] = [];

beforeEach(async () => {
  method = echo;
  fixture = await serveUnary((call) => method(call));
});
afterEach(async () => {
  for (const one of open.splice(0)) one.destroy();
  await fixture.close();
});

/** A client by hand: it has greeted, and reads what it gets. */
function attacker(...bytes: readonly Buffer[]): Socket {
  const socket = connect(fixture.path);
  socket.on('error', () => undefined).resume();
  socket.write(Buffer.concat([frames.preface, frames.settings, ...bytes]));
  open.push(socket);
  return socket;
}

function client() {
  const session = http2At(fixture.path);
  session.on('error', () => undefined);
  open.push(session);
  return session;
}

/** Whether others are served, and every call so far is over, once. */
async function expectHarmless(): Promise<void> {
  const session = http2At(fixture.path);
  const stream = beginCall(session);
  stream.end(frameMessage(Buffer.from('still there?')));
  expect(await outcomeOf(stream)).toMatchObject({
    status: '0',
    body: frameMessage(Buffer.from('still there?')),
  });
  session.close();
  await eventually(() => expect(fixture.count.over).toBe(fixture.count.begun), 3_000);
  expect(fixture.count.overTwice).toBe(0);
}

const one = frameMessage(Buffer.from('x'));
const range = (n: number): number[] => Array.from({ length: n }, (_, at) => at);

describe('harm is done to nobody', () => {
  test.each<[string, readonly Buffer[]]>([
    ['a call', [frames.headers(1), frames.data(1, one, true)]],
    ['a call that begins', [frames.headers(1)]],
    ['half a call', [frames.headers(1), frames.data(1, one.subarray(0, 3), false)]],
    ['a call that has not ended', [frames.headers(1), frames.data(1, one, false)]],
    ['no gRPC', [frames.headers(1, { 'content-type': 'text/html' })]],
    ['another method', [frames.headers(1, { ':method': 'HEAD' }, true)]],
    ['an unknown path', [frames.headers(1, { ':path': '/' })]],
    ['a timeout that is none', [frames.headers(1, { 'grpc-timeout': '' })]],
  ])('by %s and its reset, in one read or two, with any code', async (_, begun) => {
    for (const code of [0, 2, 7, 8, 0xffff]) {
      attacker(...begun, frames.reset(1, code));
      const slow = attacker(...begun);
      await new Promise((resolve) => setTimeout(resolve, 2));
      slow.write(frames.reset(1, code));
    }
    await expectHarmless();
  });

  test('by whoever leaves at any byte of a call', async () => {
    method = (call) => setImmediate(() => echo(call));
    const whole = Buffer.concat([frames.headers(1), frames.data(1, one, true)]);
    for (const at of range(whole.length + 1)) {
      const socket = attacker(whole.subarray(0, at));
      if (at % 2 === 0) socket.end();
      else setImmediate(() => socket.destroy());
    }
    await expectHarmless();
    await eventually(() => expect(fixture.sockets.size).toBe(0), 3_000);
  });

  test('by whoever leaves at any moment of an answer', async () => {
    method = (call) => call.respond(frameMessage(Buffer.alloc(300_000)));
    for (const n of range(60)) {
      const session = client();
      const stream = beginCall(session);
      stream.end(one);
      for (let turns = n % 6; turns > 0; turns -= 1) await new Promise(setImmediate);
      if (n % 3 === 0) session.destroy();
      else if (n % 3 === 1) stream.close(8);
      else session.goaway(2);
    }
    method = echo;
    await expectHarmless();
  });

  test('by frames in any order', async () => {
    const stream = fc.constantFrom(1, 3, 5);
    const any = fc.oneof(
      stream.map((id) => frames.headers(id)),
      stream.map((id) => frames.headers(id, { ':path': '/' }, true)),
      stream.map((id) => frames.headers(id, { 'content-type': 'text/html' })),
      fc
        .tuple(stream, fc.nat({ max: 6 }), fc.boolean())
        .map(([id, n, last]) => frames.data(id, one.subarray(0, n), last)),
      fc.tuple(stream, fc.constantFrom(0, 8)).map(([id, code]) => frames.reset(id, code)),
      fc.constantFrom(frames.ping, frames.settings, frames.settingsAck, frames.goaway, frames.wide),
      fc
        .tuple(
          fc.nat({ max: 12 }),
          fc.nat({ max: 255 }),
          fc.nat({ max: 5 }),
          fc.uint8Array({ maxLength: 12 }),
        )
        .map(([type, flags, id, payload]) => frame(type, flags, id, Buffer.from(payload))),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(any, { maxLength: 12 }), async (sent) => {
        const socket = attacker(...sent);
        await new Promise((resolve) => setImmediate(resolve));
        socket.end();
      }),
      { numRuns: 300 },
    );
    await expectHarmless();
  });

  test.each<[string, Buffer]>([
    ['pings', frames.ping],
    ['settings', frames.settings],
    ['resets', frames.reset(1)],
    ['empty data', frames.data(1, Buffer.alloc(0), false)],
    ['priorities', frame(2, 0, 1, Buffer.from('0000000310', 'hex'))],
    ['window updates', frame(8, 0, 0, Buffer.from('00000001', 'hex'))],
    ['frames that nobody knows', frame(99, 0, 0, Buffer.from('00000001', 'hex'))],
  ])('by a flood of %s, read or not', async (_, flood) => {
    const bytes = Buffer.concat(range(5_000).map(() => flood));
    attacker(frames.headers(1), bytes);
    attacker(frames.headers(1), bytes).pause();
    await expectHarmless();
  });

  test('by headers that never end', async () => {
    const endless = frame(9, 0, 1, Buffer.alloc(16_000));
    const socket = attacker(
      frame(1, 0, 1, Buffer.from('8286', 'hex')),
      ...range(100).map(() => endless),
    );
    await new Promise((resolve) => socket.once('close', resolve));
    await expectHarmless();
  });

  test('by headers that are many, long or double', async () => {
    const many = Object.fromEntries(range(200).map((n) => [`x-${n}`, 'v']));
    attacker(frames.headers(1, many), frames.data(1, one, true));
    const session = client();
    for (const headers of [many, { 'x-long': 'v'.repeat(80_000) }]) {
      const stream = beginCall(session, headers);
      stream.end(one);
      expect((await outcomeOf(stream)).status).toBeUndefined();
    }
    const double = beginCall(session, { 'x-twice': ['a', 'b'], 'grpc-timeout': ['1S', '1S'] });
    double.end(one);
    expect(await outcomeOf(double)).toMatchObject({ status: '3' });
    await expectHarmless();
  });

  test('by thousands of calls that are reset as soon as they have begun', async () => {
    const calls = range(3_000).map((n) => 2 * n + 1);
    attacker(
      ...calls.flatMap((id) => [frames.headers(id), frames.data(id, one, true), frames.reset(id)]),
    );
    await expectHarmless();
  });
});

describe('memory', () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  async function usedMegabytes(): Promise<number> {
    for (let times = 4; times > 0; times -= 1) {
      gc();
      await new Promise(setImmediate);
    }
    const { heapUsed, external } = process.memoryUsage();
    return (heapUsed + external) / 1e6;
  }

  test('is back after thousands of calls that were given up', async () => {
    method = () => undefined;
    const session = client();
    const body = frameMessage(Buffer.alloc(2_000));
    async function giveUp(calls: number): Promise<void> {
      for (let left = calls; left > 0; left -= 100) {
        const begun = fixture.count.begun;
        const streams = range(100).map(() => beginCall(session));
        for (const stream of streams) stream.end(body);
        await eventually(() => expect(fixture.count.begun).toBe(begun + 100));
        for (const stream of streams) stream.close(8);
        await eventually(() => expect(fixture.count.over).toBe(fixture.count.begun));
      }
    }
    // A server bears a thousand resets at a time.
    await giveUp(300);
    const before = await usedMegabytes();
    await giveUp(600);
    expect((await usedMegabytes()) - before).toBeLessThan(1.5);
    method = echo;
    await expectHarmless();
  });

  test('of a call is not held by its stream, which Node keeps for long', async () => {
    const respond = jest.spyOn(await serverStreamPrototype(), 'respond');
    let held: WeakRef<object> | undefined;
    method = (call) => {
      const mount = { over: false };
      held = new WeakRef(mount);
      call.onStreamClose(() => {
        mount.over = true;
        fixture.count.over += 1;
      });
      echo(call);
    };
    const stream = beginCall(client());
    stream.end(one);
    expect(await outcomeOf(stream)).toMatchObject({ status: '0' });
    await eventually(async () => {
      await usedMegabytes();
      expect(held?.deref()).toBeUndefined();
    });
    expect(respond.mock.contexts).toHaveLength(1);
    respond.mockRestore();
  });

  test('holds a message once, however small the parts it came in', async () => {
    let waiting: UnaryCall | undefined;
    method = (call) => (waiting = call);
    const before = await usedMegabytes();
    const body = frameMessage(Buffer.alloc(60_000));
    attacker(
      frames.headers(1),
      ...range(body.length).map((at) =>
        frames.data(1, body.subarray(at, at + 1), at === body.length - 1),
      ),
    );
    await eventually(() => expect(waiting?.message).toHaveLength(60_000), 5_000);
    expect((await usedMegabytes()) - before).toBeLessThan(2);
  });

  test('does not grow with what comes behind a message that is too long', async () => {
    const session = client();
    const before = await usedMegabytes();
    const stream = beginCall(session);
    const outcome = outcomeOf(stream);
    stream.end(Buffer.alloc(messageHeaderBytes + 6 * maxMessageBytes));
    expect(await outcome).toMatchObject({ status: '3' });
    expect((await usedMegabytes()) - before).toBeLessThan(2);
  });
});

async function serverStreamPrototype(): Promise<ServerHttp2Stream> {
  const server = createServer();
  const path = `${fixture.path}.other`;
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const session = http2At(path);
  const came = new Promise<ServerHttp2Stream>((resolve) => server.once('stream', resolve));
  beginCall(session);
  const prototype = Object.getPrototypeOf(await came) as ServerHttp2Stream;
  session.destroy();
  server.close();
  return prototype;
}
