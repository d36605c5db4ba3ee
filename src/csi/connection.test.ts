import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { connect, createServer } from 'node:net';
import {
  callRaw,
  driver,
  eventually,
  grpcMessage,
  http2At,
  startFixture,
} from '../../test/csi/harness.ts';
import { DriverConnection } from './authority-rewrite.ts';

let fixture: Awaited<ReturnType<typeof startFixture>>;

beforeAll(async () => {
  fixture = await startFixture(async ({ attributes }) => {
    return {
      files: [{ path: 'echo', mode: 0o644, contents: Buffer.from(attributes) }],
      versions: [{ id: 'echo', version: String(attributes.length) }],
    };
  });
});
afterAll(() => fixture.close());

/** Drivers up to 1.5 send the path of the socket. This one is as long as a real one. */
const driverPath = '/var/run/secrets-store-csi-providers/cce.sock';

describe.each([
  ['1.6', 'localhost'],
  ['1.5', driverPath],
])('a driver of version %s', (_, authority) => {
  test('gets its mounts, one after another and concurrently', async () => {
    const client = driver(fixture.path, authority);
    for (let n = 0; n < 50; n += 1) {
      // Each timeout differs, and so does each header block.
      const { code, response } = await client.start(
        { attributes: `${authority} ${n}` },
        60_000 + n * 37,
      ).result;
      expect(code).toBe('OK');
      expect(response?.files[0]?.contents.toString()).toBe(`${authority} ${n}`);
    }
    const many = await Promise.all(
      Array.from({ length: 200 }, (_, n) => client.start({}, 60_000 + n).result),
    );
    expect(many.filter(({ code }) => code === 'OK')).toHaveLength(200);
    client.close();
  });

  test('may send and receive megabytes', async () => {
    const client = driver(fixture.path, authority);
    const attributes = 'a'.repeat(3_500_000);
    const results = await Promise.all(
      Array.from({ length: 4 }, () => client.start({ attributes }).result),
    );
    for (const { response } of results)
      expect(response?.files[0]?.contents).toHaveLength(attributes.length);
    client.close();
  });
});

describe('a connection', () => {
  test('reads no more from the socket than its reader takes', async () => {
    const path = `${fixture.folder}/slow.sock`;
    const accepted: DriverConnection[] = [];
    const server = createServer((socket) => accepted.push(new DriverConnection(socket)));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const client = connect(path);
    const sent = Buffer.alloc(8_000_000);
    client.end(sent);
    await eventually(() => expect(accepted[0]?.readableLength).toBeGreaterThan(0));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(accepted[0]!.readableLength).toBeLessThan(1_000_000);
    let received = 0;
    for await (const part of accepted[0]!) received += (part as Buffer).length;
    expect(received).toBe(sent.length);
    server.close();
  });
});

describe('a plain HTTP/2 client', () => {
  test('may change its authority and every other header between calls', async () => {
    const session = http2At(fixture.path);
    for (let n = 0; n < 300; n += 1) {
      const result = await callRaw(session, grpcMessage(Buffer.alloc(0)), {
        ':authority': n % 7 === 0 ? 'localhost' : `${driverPath}/${n % 5 === 0 ? n : 'same'}`,
        'user-agent': `driver/${n % 3}`,
        [`x-${n % 90}`]: 'v'.repeat(n),
        'grpc-timeout': `${60_000 + n * 31}m`,
      });
      expect(result.code).toBe('OK');
    }
    session.close();
  });

  test('that disconnects within its headers does not affect others', async () => {
    const broken = connect(fixture.path);
    broken.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    broken.write(Buffer.from('0000000400000000000000ff0104000000018386', 'hex'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    broken.destroy();
    const http1 = connect(fixture.path);
    http1.end('GET / HTTP/1.1\r\n\r\n');
    await new Promise((resolve) => http1.on('error', resolve).on('close', resolve).resume());
    expect((await fixture.driver().start().result).code).toBe('OK');
  });

  test('cancels its calls when it half-closes, as with any gRPC server', async () => {
    const reasons: unknown[] = [];
    const hung = await startFixture((_, { signal }) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason));
      return new Promise(() => undefined);
    });
    const socket = connect(hung.path);
    const session = http2At(hung.path, socket);
    const call = callRaw(session, grpcMessage(Buffer.alloc(0)));
    await eventually(async () =>
      expect(await hung.registry.metrics()).toContain('keyferry_requests_in_flight 1'),
    );
    socket.end();
    await new Promise((resolve) => socket.once('close', resolve));
    await eventually(() =>
      expect(reasons).toEqual([expect.objectContaining({ code: 'CANCELLED' })]),
    );
    await call.catch(() => undefined);
    await hung.close();
  });
});
