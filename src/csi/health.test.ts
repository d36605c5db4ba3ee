import { afterEach, describe, expect, test } from '@jest/globals';
import { link, mkdtemp, rename, rm, unlink, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { eventually, serving, volume } from '../../test/csi/harness.ts';
import type { CsiServerOptions } from './server.ts';
import { createHealth } from './health.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of cleanups.splice(0)) await end();
});

async function serve(options: Partial<CsiServerOptions> = {}) {
  const one = await serving(async () => volume, { healthAddress: '127.0.0.1:0', ...options });
  cleanups.push(one.close);
  const get = async (path: string): Promise<[number, string]> => {
    const answer = await fetch(`http://127.0.0.1:${one.port}${path}`);
    return [answer.status, await answer.text()];
  };
  return { ...one, ask: get };
}

describe('health', () => {
  test('is well where this process answers at each socket', async () => {
    const { ask } = await serve({ providers: ['cce', 'local'] });
    expect(await ask('/healthz')).toEqual([200, 'ok\n']);
    expect(await ask('/readyz')).toEqual([200, '{"ready":true,"reasons":[]}\n']);
  });

  test('sees, as a driver would, that another process answers', async () => {
    const a = await serve();
    const b = await serve();
    await rename(b.path, a.path);
    const [status, text] = await a.ask('/healthz');
    expect([status, text]).toEqual([503, `${a.path} is answered by another process\n`]);
    await eventually(async () => {
      const [ready, reasons] = await a.ask('/readyz');
      expect(ready).toBe(503);
      expect(JSON.parse(reasons)).toEqual({
        ready: false,
        reasons: [expect.stringContaining('another process')],
      });
    });
  });

  test('sees that nobody answers', async () => {
    const { ask, path } = await serve();
    const mute = createServer(() => undefined);
    await new Promise<void>((resolve) => mute.listen(`${path}.mute`, resolve));
    await link(`${path}.mute`, `${path}.new`);
    await rename(`${path}.new`, path);
    mute.close();
    const [status, text] = await ask('/healthz');
    expect(status).toBe(503);
    expect(text).toContain('does not answer');
    await unlink(path);
    await eventually(async () => expect(await ask('/healthz')).toEqual([200, 'ok\n']));
  });

  test('holds few connections however many are opened, and answers the newest', async () => {
    const { ask, port } = await serve();
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
    expect(await ask('/healthz')).toEqual([200, 'ok\n']);
  });

  test('hangs up on who opens most connections, and not on who opened one before', async () => {
    const { port } = await serve();
    const kubelet = connect(port!, '127.0.0.1');
    let answer = '';
    kubelet
      .on('error', () => undefined)
      .on('data', (text: Buffer) => void (answer += text.toString()));
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
    await eventually(async () => expect(answer).toMatch(/^HTTP\/1.1 200/));
  });

  test('renders the metrics once for all who ask at a time', async () => {
    const registry = new Registry();
    let renderings = 0;
    let render = (): void => undefined;
    registry.metrics = () => {
      renderings += 1;
      return new Promise((resolve) => (render = () => resolve('x 1')));
    };
    const health = createHealth({
      ...{ address: '127.0.0.1:0', registry, log: pino({ enabled: false }) },
      ...{ probe: async () => [], problems: () => [] },
    });
    const port = await health.start();
    cleanups.push(() => health.close());
    const asked = Array.from({ length: 20 }, () => fetch(`http://127.0.0.1:${port}/metrics`));
    await eventually(async () => expect(renderings).toBe(1));
    await setTimeout(100);
    render();
    for (const answer of asked) expect((await answer).status).toBe(200);
    expect(renderings).toBe(1);
  });

  test('answers question after question of one connection, but none that is asked before its turn', async () => {
    const { port } = await serve();
    const socket = connect(port!, '127.0.0.1');
    cleanups.push(async () => void socket.destroy());
    let answers = '';
    socket
      .on('error', () => undefined)
      .on('data', (text: Buffer) => void (answers += text.toString()));
    const question = 'GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n';
    for (let count = 1; count <= 3; count += 1) {
      socket.write(question);
      await eventually(async () => expect(answers.match(/HTTP\/1.1 200/g)).toHaveLength(count));
    }
    socket.write(question.repeat(2_000));
    await eventually(async () => expect(socket.closed).toBe(true));
    expect(answers.match(/HTTP\/1.1/g)?.length).toBeLessThanOrEqual(4);
  });

  test('shows the metrics, and what there is to be asked', async () => {
    const { ask } = await serve();
    expect((await ask('/metrics'))[1]).toContain('keyferry_socket_owned{provider="cce"} 1');
    expect((await ask('/'))[0]).toBe(404);
  });

  test('ends with the process', async () => {
    const { ask, server } = await serve();
    await server.drain(0);
    await expect(ask('/healthz')).rejects.toThrow('fetch failed');
  });

  test.each(['8095', 'host:', '0.0.0.0:65536', '::1:8095', 'unix:health.sock'])(
    'refuses the address %s',
    async (healthAddress) => {
      await expect(serving(async () => volume, { healthAddress })).rejects.toMatchObject({
        code: 'NOT_CONFIGURED',
      });
    },
  );
});

describe('health of two processes in one network', () => {
  /** Health that is asked by a socket of its own, and by an address that both of them want. */
  async function starting(name: string, shared: string) {
    const folder = await mkdtemp(join(tmpdir(), 'kf-'));
    const own = join(folder, 'health.sock');
    await writeFile(own, 'left by a process that was killed');
    const logged: string[] = [];
    const health = createHealth({
      address: `unix:${own},${shared}`,
      probe: async () => [],
      problems: () => [name],
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

  test('answers for each by itself, and at the shared address for the older one until that ends', async () => {
    const shared = `127.0.0.1:${await freePort()}`;
    const older = await starting('older', shared);
    await eventually(async () =>
      expect(await reasonsAt(shared)).toMatchObject({ reasons: ['older'] }),
    );
    const newer = await starting('newer', shared);
    expect(await getOverSocket(newer.own, '/readyz')).toEqual([
      503,
      '{"ready":false,"reasons":["newer"]}\n',
    ]);
    await eventually(() => expect(newer.log()).toContain('somebody else listens there'));
    expect(await reasonsAt(shared)).toMatchObject({ reasons: ['older'] });
    await older.health.close();
    await eventually(async () =>
      expect(await reasonsAt(shared)).toMatchObject({ reasons: ['newer'] }),
    );
  });

  test('does not wait longer than its process lives', async () => {
    const shared = `127.0.0.1:${await freePort()}`;
    const older = await starting('older', shared);
    await eventually(async () =>
      expect(await reasonsAt(shared)).toMatchObject({ reasons: ['older'] }),
    );
    const newer = await starting('newer', shared);
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
    get({ socketPath, path }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part: string) => (text += part));
      answer.on('end', () => resolve([answer.statusCode, text]));
    }).on('error', reject);
  });
}
