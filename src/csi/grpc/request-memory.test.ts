import { afterEach, describe, expect, test } from '@jest/globals';
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { eventually, http2At } from '../../../test/csi/harness.ts';
import { outcomeOf, serveUnary, startCall } from '../../../test/csi/unary-fixture.ts';
import { MemoryLimiter } from '../../concurrency/memory-limiter.ts';
import type { RequestMemory, UnaryCall } from './server.ts';
import { frameMessage } from './wire.ts';

const kibibyte = 1024;
const large = frameMessage(Buffer.alloc(900 * kibibyte, 1));
const small = frameMessage(Buffer.from('small'));

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of cleanups.splice(0).reverse()) await end();
});

/** A server whose calls the test ends, with memory for one large request. */
async function startFixture() {
  const received: UnaryCall[] = [];
  const waiting = new Set<Pick<UnaryCall, 'fail'>>();
  const smallRequests = new MemoryLimiter({ maxBytes: 64 * kibibyte });
  const largeRequests = new MemoryLimiter({ maxBytes: 1_024 * kibibyte });
  const requestMemory: RequestMemory = {
    limiterFor: (bytes) => (bytes <= 32 * kibibyte ? smallRequests : largeRequests),
    onWait(call) {
      waiting.add(call);
      return () => void waiting.delete(call);
    },
  };
  const server = await serveUnary((call) => void received.push(call), { requestMemory });
  const session = http2At(server.path);
  session.on('error', () => undefined);
  cleanups.push(server.close, () => session.destroy());
  return { ...server, session, received, waiting, smallRequests, largeRequests };
}

function send(session: ClientHttp2Session, message: Buffer): ClientHttp2Stream {
  const stream = startCall(session);
  stream.end(message);
  return stream;
}

describe('large requests', () => {
  test('are read one after the other: the others wait in the client', async () => {
    const { session, received, waiting } = await startFixture();
    const outcomes = Array.from({ length: 8 }, async () => outcomeOf(send(session, large)));
    await eventually(() => expect([received.length, waiting.size]).toEqual([1, 7]));
    // One message, and of each stream that waits one flow-control window (32 KiB) beyond what Node
    // reads ahead (64 KiB; 16 KiB in Node 20).
    const sentBytes = session.socket.bytesWritten;
    expect(sentBytes).toBeLessThan(large.length + 7 * 112 * kibibyte);
    for (let ended = 0; ended < 8; ended += 1) {
      await eventually(() => expect(received.length).toBe(ended + 1));
      received[ended]!.respond(small);
    }
    for (const outcome of await Promise.all(outcomes))
      expect(outcome).toMatchObject({ status: '0' });
    expect(waiting.size).toBe(0);
  });

  test('do not delay small ones', async () => {
    const { session, received, waiting } = await startFixture();
    for (let calls = 0; calls < 5; calls += 1) send(session, large);
    await eventually(() => expect([received.length, waiting.size]).toEqual([1, 4]));
    const outcome = outcomeOf(send(session, small));
    await eventually(() => expect(received.length).toBe(2));
    received[1]!.respond(small);
    expect(await outcome).toMatchObject({ status: '0' });
  });

  test('give their memory back when the client cancels, while they wait or later', async () => {
    const { session, received, waiting, largeRequests } = await startFixture();
    const streams = [send(session, large), send(session, large)];
    await eventually(() => expect([received.length, waiting.size]).toEqual([1, 1]));
    for (const stream of streams) stream.close(8);
    await eventually(() => expect([waiting.size, largeRequests.usedBytes]).toEqual([0, 0]));
  });

  test('can be failed while they wait', async () => {
    const { session, received, waiting, largeRequests } = await startFixture();
    send(session, large);
    await eventually(() => expect(received.length).toBe(1));
    const outcome = outcomeOf(send(session, large));
    await eventually(() => expect(waiting.size).toBe(1));
    for (const call of waiting) call.fail({ status: 'INTERNAL', text: 'no memory' });
    expect(await outcome).toMatchObject({ status: '13' });
    received[0]!.respond(small);
    await eventually(() => expect([waiting.size, largeRequests.usedBytes]).toEqual([0, 0]));
  });
});

describe('small requests', () => {
  test('are bounded together', async () => {
    const { session, received, smallRequests } = await startFixture();
    const message = frameMessage(Buffer.alloc(20 * kibibyte));
    for (let calls = 0; calls < 10; calls += 1) send(session, message);
    await eventually(() => expect(received.length).toBe(3));
    expect(smallRequests.usedBytes).toBe(60 * kibibyte);
    received[0]!.respond(small);
    await eventually(() => expect(received.length).toBe(4));
  });

  test('cannot send more than their prefix says', async () => {
    const { session, received } = await startFixture();
    const lying = Buffer.concat([small, Buffer.alloc(500 * kibibyte)]);
    const outcome = await outcomeOf(send(session, lying));
    expect(outcome).toMatchObject({ status: '3' });
    expect(received).toEqual([]);
  });
});
