import { afterEach, describe, expect, test } from '@jest/globals';
import { link, mkdtemp, rename, rm, unlink, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { eventually, startFixture, volume } from '../../test/csi/harness.ts';
import { startScriptedProvider } from '../../test/driver/scripted-provider.ts';
import type { CsiServerOptions } from './server.ts';
import { HealthServer } from './health.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of cleanups.splice(0)) await end();
});

async function serve(options: Partial<CsiServerOptions> = {}) {
  const fixture = await startFixture(async () => volume, {
    healthAddress: '127.0.0.1:0',
    ...options,
  });
  cleanups.push(fixture.close);
  const getPath = async (path: string): Promise<[number, string]> => {
    const response = await fetch(`http://127.0.0.1:${fixture.port}${path}`);
    return [response.status, await response.text()];
  };
  return { ...fixture, getPath };
}

describe('health', () => {
  test('is ok when this process responds on every socket', async () => {
    const { getPath } = await serve({ providers: ['cce', 'local'] });
    expect(await getPath('/healthz')).toEqual([200, 'ok\n']);
    expect(await getPath('/readyz')).toEqual([200, '{"ready":true,"reasons":[]}\n']);
  });

  test('reports that a foreign program responds on a socket', async () => {
    const { getPath, folder, path } = await serve();
    const foreign = await startScriptedProvider(join(folder, 'foreign'), 'cce');
    cleanups.push(async () => foreign.stop());
    await rename(foreign.socketPath, path);
    expect(await getPath('/healthz')).toEqual([503, `${path} is served by another program\n`]);
    await eventually(async () => {
      const [ready, reasons] = await getPath('/readyz');
      expect(ready).toBe(503);
      expect(JSON.parse(reasons)).toEqual({
        ready: false,
        reasons: [expect.stringContaining('another process')],
      });
    });
  });

  test('is ok when a successor responds on a socket', async () => {
    const old = await serve();
    const successor = await serve({ providersDir: old.folder });
    await eventually(async () =>
      expect((await old.getPath('/metrics'))[1]).toContain(
        'keyferry_socket_owned{provider="cce"} 0',
      ),
    );
    // On a busy machine one probe can be late.
    for (const { getPath } of [old, successor])
      await eventually(async () => {
        expect(await getPath('/readyz')).toEqual([200, '{"ready":true,"reasons":[]}\n']);
        expect(await getPath('/healthz')).toEqual([200, 'ok\n']);
      });
  });

  test('is ready while it drains', async () => {
    let finish: (result: typeof volume) => void = () => undefined;
    const finished = new Promise<typeof volume>((resolve) => (finish = resolve));
    const { getPath, server, registry, driver } = await serve({
      mount: () => finished,
    });
    const { result } = driver().start();
    await eventually(async () =>
      expect(await registry.metrics()).toContain('keyferry_requests_in_flight 1'),
    );
    const drained = server.drain(600_000);
    await eventually(async () =>
      expect(await registry.metrics()).toContain('keyferry_socket_owned{provider="cce"} 0'),
    );
    expect(await getPath('/readyz')).toEqual([200, '{"ready":true,"reasons":[]}\n']);
    finish(volume);
    await drained;
    expect((await result).code).toBe('OK');
  });

  test('reports that no process responds on a socket', async () => {
    const { getPath, path } = await serve();
    const mute = createServer(() => undefined);
    await new Promise<void>((resolve) => mute.listen(`${path}.mute`, resolve));
    await link(`${path}.mute`, `${path}.new`);
    await rename(`${path}.new`, path);
    mute.close();
    const [status, text] = await getPath('/healthz');
    expect(status).toBe(503);
    expect(text).toContain('does not respond');
    await unlink(path);
    await eventually(async () => expect(await getPath('/healthz')).toEqual([200, 'ok\n']));
  });

  test('limits its connections and serves the newest', async () => {
    const { getPath, port } = await serve();
    let open = 0;
    const sockets = Array.from({ length: 300 }, () => {
      const socket = connect(port!, '127.0.0.1', () => void (open += 1));
      socket.on('error', () => undefined).on('close', () => void (open -= 1));
      socket.write('GET /healthz HTTP/1.1\r\nx: ');
      return socket;
    });
    cleanups.push(async () => sockets.forEach((socket) => socket.destroy()));
    await eventually(async () => expect(sockets.every(({ pending }) => !pending)).toBe(true));
    await eventually(async () => expect(open).toBeLessThanOrEqual(50));
    expect(await getPath('/healthz')).toEqual([200, 'ok\n']);
  });

  test('closes connections of the client with the most, and not of others', async () => {
    const { port } = await serve();
    const kubelet = connect(port!, '127.0.0.1');
    let received = '';
    kubelet
      .on('error', () => undefined)
      .on('data', (text: Buffer) => void (received += text.toString()));
    cleanups.push(async () => void kubelet.destroy());
    kubelet.write('GET /healthz HTTP/1.1\r\n');
    await eventually(async () => expect(kubelet.pending).toBe(false));
    const others = Array.from({ length: 200 }, () =>
      connect({ port: port!, host: '127.0.0.1', localAddress: '127.0.0.2' })
        .on('error', () => undefined)
        .resume(),
    );
    cleanups.push(async () => others.forEach((socket) => socket.destroy()));
    await eventually(async () =>
      expect(others.filter(({ closed }) => closed).length).toBeGreaterThan(149),
    );
    kubelet.write('host: a\r\n\r\n');
    await eventually(async () => expect(received).toMatch(/^HTTP\/1.1 200/));
  });

  test('renders the metrics once for concurrent requests', async () => {
    const registry = new Registry();
    let requests = 0;
    let renderings = 0;
    let render = (): void => undefined;
    registry.metrics = () => {
      renderings += 1;
      return new Promise((resolve) => (render = () => resolve('x 1')));
    };
    // Read once for each request.
    Object.defineProperty(registry, 'contentType', {
      get: () => {
        requests += 1;
        return 'text/plain';
      },
    });
    const health = new HealthServer({
      ...{ address: '127.0.0.1:0', registry, log: pino({ enabled: false }) },
      ...{ probe: async () => [], problems: async () => [] },
    });
    const port = await health.start();
    cleanups.push(() => health.close());
    const responses = Array.from({ length: 20 }, () => fetch(`http://127.0.0.1:${port}/metrics`));
    await eventually(async () => expect(requests).toBe(20));
    render();
    for (const response of responses) expect((await response).status).toBe(200);
    expect(renderings).toBe(1);
  });

  test('serves one request after another of a connection, and closes it for pipelined requests', async () => {
    const { port } = await serve();
    const socket = connect(port!, '127.0.0.1');
    cleanups.push(async () => void socket.destroy());
    let received = '';
    socket
      .on('error', () => undefined)
      .on('data', (text: Buffer) => void (received += text.toString()));
    const request = 'GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n';
    for (let count = 1; count <= 3; count += 1) {
      socket.write(request);
      await eventually(async () => expect(received.match(/HTTP\/1.1 200/g)).toHaveLength(count));
    }
    socket.write(request.repeat(2_000));
    await eventually(async () => expect(socket.closed).toBe(true));
    expect(received.match(/HTTP\/1.1/g)?.length).toBeLessThanOrEqual(4);
  });

  test('serves the metrics, and 404 for an unknown path', async () => {
    const { getPath } = await serve();
    expect((await getPath('/metrics'))[1]).toContain('keyferry_socket_owned{provider="cce"} 1');
    expect((await getPath('/'))[0]).toBe(404);
  });

  test('stops with the process', async () => {
    const { getPath, server } = await serve();
    await server.drain(0);
    await expect(getPath('/healthz')).rejects.toThrow('fetch failed');
  });

  test.each(['8095', 'host:', '0.0.0.0:65536', '::1:8095', 'unix:health.sock'])(
    'rejects the address %s',
    async (healthAddress) => {
      await expect(startFixture(async () => volume, { healthAddress })).rejects.toMatchObject({
        code: 'NOT_CONFIGURED',
      });
    },
  );
});

describe('health of two processes in one network', () => {
  /** Starts health on its own socket, and at an address that several processes use. */
  async function startHealth(name: string, shared: string) {
    const folder = await mkdtemp(join(tmpdir(), 'kf-'));
    const own = join(folder, 'health.sock');
    await writeFile(own, 'left by a process that was killed');
    const logged: string[] = [];
    const health = new HealthServer({
      address: `unix:${own},${shared}`,
      probe: async () => [],
      problems: async () => [name],
      registry: new Registry(),
      log: pino({}, { write: (line: string) => logged.push(line) }),
      retryMs: 5,
    });
    await health.start();
    cleanups.push(async () => {
      await health.close();
      await rm(folder, { recursive: true });
    });
    return { health, own, log: () => logged.join('') };
  }
  const reasonsAt = async (shared: string): Promise<unknown> =>
    (await fetch(`http://${shared}/readyz`)).json();

  test('serves each on its own socket, and the older one at the shared address until it stops', async () => {
    const shared = `127.0.0.1:${await freePort()}`;
    const older = await startHealth('older', shared);
    await eventually(async () =>
      expect(await reasonsAt(shared)).toMatchObject({ reasons: ['older'] }),
    );
    const newer = await startHealth('newer', shared);
    expect(await getOverSocket(newer.own, '/readyz')).toEqual([
      503,
      '{"ready":false,"reasons":["newer"]}\n',
    ]);
    await eventually(() => expect(newer.log()).toContain('the address is in use'));
    expect(await reasonsAt(shared)).toMatchObject({ reasons: ['older'] });
    await older.health.close();
    await eventually(async () =>
      expect(await reasonsAt(shared)).toMatchObject({ reasons: ['newer'] }),
    );
  });

  test('stops waiting for the address when its process stops', async () => {
    const shared = `127.0.0.1:${await freePort()}`;
    const older = await startHealth('older', shared);
    await eventually(async () =>
      expect(await reasonsAt(shared)).toMatchObject({ reasons: ['older'] }),
    );
    const newer = await startHealth('newer', shared);
    await newer.health.close();
    await older.health.close();
    await setTimeout(30);
    await expect(reasonsAt(shared)).rejects.toThrow('fetch failed');
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function getOverSocket(
  socketPath: string,
  path: string,
): Promise<[number | undefined, string]> {
  return new Promise((resolve, reject) => {
    get({ socketPath, path }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.on('end', () => resolve([response.statusCode, text]));
    }).on('error', reject);
  });
}
