import { afterEach, describe, expect, test } from '@jest/globals';
import { readdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import {
  driver,
  eventually,
  grpcMessage,
  http2At,
  serving,
  volume,
} from '../../test/csi/harness.ts';
import { frame, frames } from '../../test/csi/unary-fixture.ts';
import { SecretError } from '../core/errors.ts';
import type { MountContext } from '../mount/mount.ts';
import type { RawMountRequest } from './mount-request.ts';
import { type CsiServerOptions, createCsiServer } from './server.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of cleanups.splice(0)) await end();
});

async function serve(mount: CsiServerOptions['mount'], options: Partial<CsiServerOptions> = {}) {
  const one = await serving(mount, options);
  cleanups.push(one.close);
  return one;
}

/** Another process's way in, at the same sockets; not started yet. */
function successorIn(providersDir: string) {
  return createCsiServer({
    mount: async () => volume,
    version: '2',
    providers: ['cce'],
    providersDir,
    log: pino({ level: 'silent' }),
    registry: new Registry(),
  });
}

const never = (): Promise<never> => new Promise(() => undefined);

describe('the way in', () => {
  test('tells its version, its name and which process it is', async () => {
    const { driver, server } = await serve(async () => volume);
    expect(await driver().version()).toEqual({
      version: 'v1alpha1',
      runtimeName: 'keyferry',
      runtimeVersion: `1.2.3+${server.instanceId}`,
    });
    expect(server.instanceId).toMatch(/^[0-9a-f]{16}$/);
  });

  test('hands the request to the mount and the volume to the driver', async () => {
    const seen: { request: RawMountRequest; circumstances: MountContext }[] = [];
    const { driver, folder } = await serve(
      async (request, circumstances) => {
        seen.push({ request, circumstances });
        return volume;
      },
      { providers: ['cce', 'local'] },
    );
    const before = Date.now();
    const { response } = await driver().start({
      attributes: '{"a":"b"}',
      secrets: 'null',
      targetPath: '/var/lib/kubelet/x',
      permission: '420',
      currentObjectVersion: [{ id: 'a', version: '1' }],
    }).answer;
    expect(response).toEqual({
      files: [{ path: 'db/password', mode: 0o644, contents: Buffer.from('s3cret') }],
      objectVersion: [{ id: 'db/password', version: 'v1' }],
      error: undefined,
    });
    expect(seen[0]?.request).toEqual({
      attributes: '{"a":"b"}',
      secrets: 'null',
      targetPath: '/var/lib/kubelet/x',
      permission: '420',
      currentVersions: [{ id: 'a', version: '1' }],
    });
    expect(seen[0]?.circumstances.provider).toBe('cce');
    // No deadline came: 110 s.
    expect(seen[0]!.circumstances.deadline - before).toBeGreaterThanOrEqual(110_000);
    expect(seen[0]!.circumstances.deadline - before).toBeLessThan(111_000);
    expect(await readdir(folder)).toEqual(['cce.sock', 'local.sock']);
  });

  test('tells the mount when to be done, by the deadline of the caller', async () => {
    const deadlines: number[] = [];
    const { driver } = await serve(async (_, { deadline }) => {
      deadlines.push(deadline - Date.now());
      return volume;
    });
    await driver().start({}, 120_000).answer;
    await driver().start({}, 60_000).answer;
    await driver().start({}, 8_000).answer;
    expect(deadlines.map((ms) => Math.round(ms / 1_000))).toEqual([110, 50, 4]);
  });

  test('tells the mount when the caller leaves', async () => {
    const reasons: unknown[] = [];
    const { driver, registry, log } = await serve((_, { signal }) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason));
      return never();
    });
    const { cancel } = driver().start();
    await eventually(async () =>
      expect(await registry.metrics()).toContain('keyferry_requests_in_flight 1'),
    );
    cancel();
    await eventually(() =>
      expect(reasons).toEqual([expect.objectContaining({ code: 'CANCELLED' })]),
    );
    expect(await registry.metrics()).toContain('keyferry_requests_in_flight 0');
    expect(log()).toContain('"code":"CANCELLED"');
  });

  test('keeps no more responses in the making than there is room for', async () => {
    const big = { ...volume, files: [{ path: 'a', mode: 0o600, contents: Buffer.alloc(400_000) }] };
    const { driver, registry } = await serve(async () => big, { responseMemoryBytes: 1_000_000 });
    const one = driver();
    const answers = await Promise.all(Array.from({ length: 20 }, () => one.start().answer));
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set(['OK']));
    expect(await registry.metrics()).toContain('keyferry_response_bytes_count{provider="cce"} 20');
  });

  test('says why it cannot listen', async () => {
    await expect(
      serving(async () => volume, { providersDir: '/dev/null/x' }),
    ).rejects.toMatchObject({
      code: 'NOT_CONFIGURED',
      message: 'cannot listen in /dev/null/x: ENOTDIR',
    });
    const { port } = await serve(async () => volume, { healthAddress: '127.0.0.1:0' });
    const healthAddress = `127.0.0.1:${port}`;
    await expect(serving(async () => volume, { healthAddress })).rejects.toMatchObject({
      code: 'NOT_CONFIGURED',
      message: `cannot listen on ${healthAddress} for health, readiness and metrics: EADDRINUSE`,
    });
  });
});

describe('the end of the process', () => {
  test('comes at once where no mount is under way, and leaves no socket', async () => {
    const { server, driver, folder } = await serve(async () => volume);
    await driver().start().answer;
    const before = performance.now();
    await server.drain(10_000);
    expect(performance.now() - before).toBeLessThan(500);
    expect(await readdir(folder)).toEqual([]);
    expect(server.ready()).toEqual({ ready: false, reasons: ['shutting down'] });
  });

  test('waits for mounts under way, and serves what still comes over their connections', async () => {
    let finish = (): void => undefined;
    const first = new Promise<void>((resolve) => (finish = resolve));
    let mounts = 0;
    const { server, driver } = await serve(async () => {
      mounts += 1;
      if (mounts === 1) await first;
      return volume;
    });
    const client = driver();
    const slow = client.start();
    await eventually(() => expect(mounts).toBe(1));
    const drained = server.drain(10_000);
    expect((await client.start().answer).code).toBe('OK');
    finish();
    expect((await slow.answer).code).toBe('OK');
    await drained;
    expect((await client.start().answer).code).toBe('UNAVAILABLE'); // nobody is there
  });

  test('answers 200 hung mounts with a final code', async () => {
    const reasons: unknown[] = [];
    const { server, driver, registry, path } = await serve((_, { signal }) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason));
      return never();
    });
    const clients = [driver(), driver(path), driver()];
    const answers = Array.from({ length: 200 }, (_, n) => clients[n % 3]!.start({}, 60_000).answer);
    await eventually(async () =>
      expect(await registry.metrics()).toContain('keyferry_requests_in_flight 200'),
    );
    await server.drain(20);
    const codes = (await Promise.all(answers)).map(({ code, text }) => `${code}: ${text}`);
    expect(codes).toHaveLength(200);
    expect(new Set(codes)).toEqual(
      new Set([
        'INTERNAL: SHUTTING_DOWN: Keyferry stops on this node and did not finish the mount in time; the kubelet tries again, and its successor serves it',
      ]),
    );
    expect(
      reasons.filter((reason) => reason instanceof SecretError && reason.code === 'SHUTTING_DOWN'),
    ).toHaveLength(200);
  });

  test('does not wait for a client that reads nothing', async () => {
    const huge = {
      ...volume,
      files: [{ path: 'a', mode: 0o600, contents: Buffer.alloc(4_000_000) }],
    };
    const { server, path } = await serve(async () => huge);
    const session = http2At(path);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/v1alpha1.CSIDriverProvider/Mount',
      'content-type': 'application/grpc',
    });
    stream.pause();
    stream.end(Buffer.alloc(5));
    await new Promise((resolve) => stream.once('response', resolve));
    const closed = new Promise((resolve) => session.once('close', resolve));
    session.on('error', () => undefined);
    stream.on('error', () => undefined);
    const before = performance.now();
    await server.drain(20);
    expect(performance.now() - before).toBeLessThan(2_000);
    await closed;
  });

  test('lets a successor take over without a failed mount', async () => {
    const old = await serve(async () => volume);
    const successor = successorIn(old.folder);
    const codes: string[] = [];
    const enough = new AbortController();
    const mounting = (async () => {
      while (!enough.signal.aborted) {
        const fresh = driver(old.path);
        codes.push((await fresh.start().answer).code);
        fresh.close();
      }
    })();
    await eventually(() => expect(codes.length).toBeGreaterThan(3));
    await successor.start();
    await old.server.drain(1_000);
    const before = codes.length;
    await eventually(() => expect(codes.length).toBeGreaterThan(before + 3));
    enough.abort();
    await mounting;
    expect(new Set(codes)).toEqual(new Set(['OK']));
    await successor.drain(0);
  });

  test('serves what was on its way to it when a successor took over, also after a moment of rest', async () => {
    const old = await serve(async () => volume);
    const socket = connect(old.path);
    socket.on('error', () => undefined).on('end', () => socket.end());
    socket.write(Buffer.concat([frames.preface, frames.settings]));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const successor = successorIn(old.folder);
    await successor.start();
    let received = Buffer.alloc(0);
    const mount = (stream: number): Buffer =>
      Buffer.concat([
        frames.headers(stream, { ':path': '/v1alpha1.CSIDriverProvider/Mount' }),
        frames.data(stream, grpcMessage(Buffer.alloc(0)), true),
      ]);
    socket.on('data', (read: Buffer) => {
      received = Buffer.concat([received, read]);
      const ping = read.indexOf(frames.ping.subarray(0, 9));
      if (ping < 0) return;
      socket.write(mount(1));
      setTimeout(() => {
        socket.write(Buffer.concat([mount(3), frame(6, 1, 0, read.subarray(ping + 9, ping + 17))]));
      }, 50);
    });
    await old.server.drain(2_000);
    expect(received.toString('latin1').match(/s3cret/g)).toHaveLength(2);
    await successor.drain(0);
  });

  test('fails no mount of a driver that keeps its connection and asks at any moment', async () => {
    const old = await serve(async () => volume);
    const successor = successorIn(old.folder);
    const client = driver(old.path);
    await client.start().answer;
    await successor.start();
    const answers: Promise<{ code: string; text: string }>[] = [];
    const asking = setInterval(() => answers.push(client.start().answer), 0);
    await old.server.drain(1_000);
    await eventually(() => expect(answers.length).toBeGreaterThan(30));
    clearInterval(asking);
    const texts = (await Promise.all(answers)).map(({ code, text }) => `${code} ${text}`.trim());
    // What is refused before it was looked at the driver asks again.
    expect(
      [...new Set(texts)].filter((text) => text !== 'UNAVAILABLE Stream refused by server'),
    ).toEqual(['OK']);
    await successor.drain(0);
  });
});
