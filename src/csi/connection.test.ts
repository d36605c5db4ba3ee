import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { connect, createServer } from 'node:net';
import {
  callRaw,
  driver,
  eventually,
  grpcMessage,
  http2At,
  serving,
} from '../../test/csi/harness.ts';
import { DriverConnection } from './authority-rewrite.ts';

let fixture: Awaited<ReturnType<typeof serving>>;

beforeAll(async () => {
  fixture = await serving(async ({ attributes }) => {
    return {
      files: [{ path: 'echo', mode: 0o644, contents: Buffer.from(attributes) }],
      versions: [{ id: 'echo', version: String(attributes.length) }],
    };
  });
});
afterAll(() => fixture.close());

/** As drivers up to 1.5 do, with a path that is none of ours but as long as theirs. */
const driverPath = '/var/run/secrets-store-csi-providers/cce.sock';

describe.each([
  ['1.6', 'localhost'],
  ['1.5', driverPath],
])('a driver of version %s', (_, authority) => {
  test('gets its mounts, one after another and many at once', async () => {
    const one = driver(fixture.path, authority);
    for (let n = 0; n < 50; n += 1) {
      // Each timeout differs, and so does each header block.
      const { code, response } = await one.start(
        { attributes: `${authority} ${n}` },
        60_000 + n * 37,
      ).answer;
      expect(code).toBe('OK');
      expect(response?.files[0]?.contents.toString()).toBe(`${authority} ${n}`);
    }
    const many = await Promise.all(
      Array.from({ length: 200 }, (_, n) => one.start({}, 60_000 + n).answer),
    );
    expect(many.filter(({ code }) => code === 'OK')).toHaveLength(200);
    one.close();
  });

  test('may send and get megabytes', async () => {
    const one = driver(fixture.path, authority);
    const attributes = 'a'.repeat(3_500_000);
    const answers = await Promise.all(
      Array.from({ length: 4 }, () => one.start({ attributes }).answer),
    );
    for (const { response } of answers)
      expect(response?.files[0]?.contents).toHaveLength(attributes.length);
    one.close();
  });
});

describe('a connection', () => {
  test('takes no more from the wire than its reader takes from it', async () => {
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

describe('a bare HTTP/2 client', () => {
  test('may change its authority and every other header from call to call', async () => {
    const session = http2At(fixture.path);
    for (let n = 0; n < 300; n += 1) {
      const answer = await callRaw(session, grpcMessage(Buffer.alloc(0)), {
        ':authority': n % 7 === 0 ? 'localhost' : `${driverPath}/${n % 5 === 0 ? n : 'same'}`,
        'user-agent': `driver/${n % 3}`,
        [`x-${n % 90}`]: 'v'.repeat(n),
        'grpc-timeout': `${60_000 + n * 31}m`,
      });
      expect(answer.code).toBe('OK');
    }
    session.close();
  });

  test('that breaks off in the middle of its headers harms nobody', async () => {
    const broken = connect(fixture.path);
    broken.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    broken.write(Buffer.from('0000000400000000000000ff0104000000018386', 'hex'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    broken.destroy();
    const rude = connect(fixture.path);
    rude.end('GET / HTTP/1.1\r\n\r\n');
    await new Promise((resolve) => rude.on('error', resolve).on('close', resolve).resume());
    expect((await fixture.driver().start().answer).code).toBe('OK');
  });

  test('that half-closes has given up what it asked for, as with any gRPC server', async () => {
    const reasons: unknown[] = [];
    const hung = await serving((_, { signal }) => {
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
