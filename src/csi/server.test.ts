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
  startFixture,
  volume,
} from '../../test/csi/harness.ts';
import { frame, frames } from '../../test/csi/unary-fixture.ts';
import { SecretError } from '../core/errors.ts';
import type { MountContext } from '../mount/mount.ts';
import type { RawMountRequest } from './mount-request.ts';
import { type CsiServerOptions, CsiServer } from './server.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of cleanups.splice(0)) await end();
});

async function serve(mount: CsiServerOptions['mount'], options: Partial<CsiServerOptions> = {}) {
  const fixture = await startFixture(mount, options);
  cleanups.push(fixture.close);
  return fixture;
}

/** The CSI server of another process, on the same sockets. It is not started yet. */
function createSuccessor(providersDir: string) {
  return new CsiServer({
    mount: async () => volume,
    version: '2',
    providers: ['cce'],
    providersDir,
    log: pino({ level: 'silent' }),
    registry: new Registry(),
  });
}

const never = (): Promise<never> => new Promise(() => undefined);

describe('the CSI server', () => {
  test('returns its version, its name and the id of its process', async () => {
    const { driver, server } = await serve(async () => volume);
    expect(await driver().version()).toEqual({
      version: 'v1alpha1',
      runtimeName: 'keyferry',
      runtimeVersion: `1.2.3+${server.instanceId}`,
    });
    expect(server.instanceId).toMatch(/^[0-9a-f]{16}$/);
  });

  test('passes the request to the mount and the volume to the driver', async () => {
    const seen: { request: RawMountRequest; context: MountContext }[] = [];
    const { driver, folder } = await serve(
      async (request, context) => {
        seen.push({ request, context });
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
    }).result;
    const after = Date.now();
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
    });
    expect(seen[0]?.context.provider).toBe('cce');
    // The driver sent no deadline, so it is 110 s.
    expect(seen[0]!.context.deadline).toBeGreaterThanOrEqual(before + 110_000);
    expect(seen[0]!.context.deadline).toBeLessThanOrEqual(after + 110_000);
    expect(await readdir(folder)).toEqual(['cce.sock', 'local.sock']);
  });

  test('gives the mount a deadline before the one of the caller', async () => {
    const deadlines: number[] = [];
    const { driver } = await serve(async (_, { deadline }) => {
      deadlines.push(deadline);
      return volume;
    });
    for (const [timeoutMs, mountMs] of [
      [120_000, 110_000],
      [60_000, 50_000],
      [8_000, 4_000],
    ] as const) {
      const before = Date.now();
      await driver().start({}, timeoutMs).result;
      const after = Date.now();
      expect(deadlines.at(-1)).toBeGreaterThanOrEqual(before + mountMs);
      expect(deadlines.at(-1)).toBeLessThanOrEqual(after + mountMs);
    }
  });

  test('aborts the mount when the caller cancels', async () => {
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

  test('sends many large responses within its memory limit', async () => {
    const big = { ...volume, files: [{ path: 'a', mode: 0o600, contents: Buffer.alloc(400_000) }] };
    const { driver, registry } = await serve(async () => big, { responseMemoryBytes: 1_000_000 });
    const client = driver();
    const results = await Promise.all(Array.from({ length: 20 }, () => client.start().result));
    expect(new Set(results.map(({ code }) => code))).toEqual(new Set(['OK']));
    expect(await registry.metrics()).toContain('keyferry_response_bytes_count{provider="cce"} 20');
  });

  test('rejects with the reason when it cannot listen', async () => {
    await expect(
      startFixture(async () => volume, { providersDir: '/dev/null/x' }),
    ).rejects.toMatchObject({
      code: 'NOT_CONFIGURED',
      message: 'cannot listen in /dev/null/x: ENOTDIR',
    });
    const { port } = await serve(async () => volume, { healthAddress: '127.0.0.1:0' });
    const healthAddress = `127.0.0.1:${port}`;
    await expect(startFixture(async () => volume, { healthAddress })).rejects.toMatchObject({
      code: 'NOT_CONFIGURED',
      message: `cannot listen on ${healthAddress} for health, readiness and metrics: EADDRINUSE`,
    });
  });
});

describe('drain', () => {
  test('ends at once without mounts in flight, and leaves no socket', async () => {
    const { server, driver, folder } = await serve(async () => volume);
    await driver().start().result;
    // Far beyond the time limit of the test: drain must not wait for it.
    await server.drain(600_000);
    expect(await readdir(folder)).toEqual([]);
  });

  test('waits for mounts in flight, and serves new ones over their connections', async () => {
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
    expect((await client.start().result).code).toBe('OK');
    finish();
    expect((await slow.result).code).toBe('OK');
    await drained;
    expect((await client.start().result).code).toBe('UNAVAILABLE'); // no process listens
  });

  test('ends 200 hung mounts with a final code', async () => {
    const reasons: unknown[] = [];
    const { server, driver, registry, path } = await serve((_, { signal }) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason));
      return never();
    });
    const clients = [driver(), driver(path), driver()];
    const results = Array.from({ length: 200 }, (_, n) => clients[n % 3]!.start({}, 60_000).result);
    await eventually(async () =>
      expect(await registry.metrics()).toContain('keyferry_requests_in_flight 200'),
    );
    await server.drain(20);
    const codes = (await Promise.all(results)).map(({ code, text }) => `${code}: ${text}`);
    expect(codes).toHaveLength(200);
    expect(new Set(codes)).toEqual(
      new Set([
        'INTERNAL: SHUTTING_DOWN: Keyferry stops on this node and did not finish the mount in time; the kubelet tries again, and the next Keyferry process serves it',
      ]),
    );
    expect(
      reasons.filter((reason) => reason instanceof SecretError && reason.code === 'SHUTTING_DOWN'),
    ).toHaveLength(200);
  });

  test('does not wait for a client that does not read', async () => {
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
    await server.drain(20);
    await closed;
  });

  test('lets another process take over without a failed mount', async () => {
    const old = await serve(async () => volume);
    const successor = createSuccessor(old.folder);
    const codes: string[] = [];
    const stop = new AbortController();
    const mounts = (async () => {
      while (!stop.signal.aborted) {
        const fresh = driver(old.path);
        codes.push((await fresh.start().result).code);
        fresh.close();
      }
    })();
    await eventually(() => expect(codes.length).toBeGreaterThan(3));
    await successor.start();
    await old.server.drain(1_000);
    const before = codes.length;
    await eventually(() => expect(codes.length).toBeGreaterThan(before + 3));
    stop.abort();
    await mounts;
    expect(new Set(codes)).toEqual(new Set(['OK']));
    await successor.drain(0);
  });

  test('serves requests that were on their way when another process took over, also after an idle moment', async () => {
    const old = await serve(async () => volume);
    const socket = connect(old.path);
    socket.on('error', () => undefined).on('end', () => socket.end());
    socket.write(Buffer.concat([frames.preface, frames.settings]));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const successor = createSuccessor(old.folder);
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

  test('fails no mount of a driver that keeps its connection and mounts continuously', async () => {
    const old = await serve(async () => volume);
    const successor = createSuccessor(old.folder);
    const client = driver(old.path);
    await client.start().result;
    await successor.start();
    const results: Promise<{ code: string; text: string }>[] = [];
    const interval = setInterval(() => results.push(client.start().result), 0);
    await old.server.drain(1_000);
    await eventually(() => expect(results.length).toBeGreaterThan(30));
    clearInterval(interval);
    const texts = (await Promise.all(results)).map(({ code, text }) => `${code} ${text}`.trim());
    // The driver retries a stream that is refused before the server has seen it.
    const isRefused = (text: string): boolean => /^UNAVAILABLE .*refused/i.test(text);
    expect([...new Set(texts)].filter((text) => !isRefused(text))).toEqual(['OK']);
    await successor.drain(0);
  });
});
