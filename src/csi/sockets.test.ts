import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdirSync, unlinkSync, writeFileSync } from 'node:fs';
import {
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  rename,
  rm,
  stat,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { eventually } from '../../test/csi/harness.ts';
import { createCsiMetrics } from './metrics.ts';
import { bindSocket, removeLeftovers } from '../sockets/socket-file.ts';
import { ProviderSockets, type ProviderSocketsOptions } from './sockets.ts';

let folder: string;
let path: string;
let logged: string[];
const open: { close(): unknown }[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kf-'));
  path = join(folder, 'cce.sock');
  logged = [];
});

afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
  await rm(folder, { recursive: true, force: true });
});

/** Sockets that send the name of the process and the provider to each connection, and close it. */
function createSockets(name: string, options: Partial<ProviderSocketsOptions> = {}) {
  const registry = new Registry();
  const metrics = createCsiMetrics(registry);
  let checks = 0;
  const sockets = new ProviderSockets({
    providersDir: folder,
    providers: ['cce'],
    // A process that only checks whether another one listens disconnects first.
    onConnection: (provider, socket) =>
      socket.on('error', () => undefined).end(`${name} ${provider}`),
    log: pino({ level: 'info' }, { write: (line: string) => logged.push(line) }),
    metrics,
    pollMs: 20,
    ...options,
  });
  // Every check of a path sets this metric.
  const { socketOwned } = metrics;
  const set = socketOwned.set.bind(socketOwned) as (...args: unknown[]) => void;
  socketOwned.set = (...args: unknown[]) => {
    checks += 1;
    set(...args);
  };
  open.push(sockets);
  return Object.assign(sockets, {
    metrics: () => registry.metrics(),
    checks: () => checks,
  });
}

async function started(name: string, options: Partial<ProviderSocketsOptions> = {}) {
  const sockets = createSockets(name, options);
  await sockets.start();
  return sockets;
}

/** A foreign provider: binds its path directly, and unlinks it by name when it stops. */
async function foreignProvider(at = path): Promise<Server> {
  const server = createServer((socket) => socket.on('error', () => undefined).end('foreign'));
  await new Promise<void>((resolve) => server.listen(at, resolve));
  open.push(server);
  return server;
}

/** The name of the process that responds at the path. */
async function responderAt(at = path): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    connect(at)
      .on('data', (data) => (text += data.toString()))
      .on('end', () => resolve(text))
      .on('error', reject);
  });
}

/** Waits until each has checked its path so many more times. */
async function furtherChecks(
  count: number,
  ...sockets: readonly { checks(): number }[]
): Promise<void> {
  const targets = sockets.map((one) => one.checks() + count);
  await eventually(() =>
    sockets.forEach((one, n) => expect(one.checks()).toBeGreaterThanOrEqual(targets[n]!)),
  );
}

describe('the sockets of the providers', () => {
  test('listen at their paths, for their owner only', async () => {
    const former = process.umask(0);
    try {
      await started('a', { providers: ['cce', 'local'] });
    } finally {
      process.umask(former);
    }
    expect(await readdir(folder)).toEqual(['cce.sock', 'local.sock']);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await responderAt()).toBe('a cce');
    expect(await responderAt(join(folder, 'local.sock'))).toBe('a local');
  });

  test('never have another mode', async () => {
    const modes = new Set<number>();
    const stop = new AbortController();
    const observing = (async () => {
      while (!stop.signal.aborted) {
        for (const name of await readdir(folder)) {
          const stats = await lstat(join(folder, name)).catch(() => undefined);
          if (stats !== undefined) modes.add(stats.mode & 0o777);
        }
      }
    })();
    for (let n = 0; n < 20; n += 1) await started('a');
    stop.abort();
    await observing;
    // 0700 is the folder in which they are bound.
    expect([...modes].filter((mode) => mode !== 0o700)).toEqual([0o600]);
  });

  test('create their folder', async () => {
    await started('a', { providersDir: join(folder, 'x/y') });
    expect(await responderAt(join(folder, 'x/y/cce.sock'))).toBe('a cce');
  });

  test('replace a socket that a dead process has left', async () => {
    await foreignProvider(join(folder, 'old'));
    await rename(join(folder, 'old'), path);
    for (const one of open.splice(0)) one.close();
    await expect(responderAt()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await started('a');
    expect(await responderAt()).toBe('a cce');
  });

  test('are bound again when the process that took over is dead, such as a new version that crashed', async () => {
    const old = await started('old');
    await foreignProvider(join(folder, 'new'));
    await rename(join(folder, 'new'), path);
    await eventually(async () => expect(old.problems()).toHaveLength(1));
    expect(await responderAt()).toBe('foreign');
    // Node unlinks the name it was bound by and leaves the path, as after a kill.
    open.pop()?.close();
    await eventually(async () => expect(await responderAt()).toBe('old cce'));
    await eventually(async () => expect(old.problems()).toEqual([]));
    expect(await old.metrics()).toContain('keyferry_socket_rebinds_total{provider="cce"} 1');
  });

  test('never replace a successor that starts at the same moment', async () => {
    for (let round = 0; round < 25; round += 1) {
      const old = await started('old');
      await foreignProvider(join(folder, 'new'));
      await rename(join(folder, 'new'), path);
      open.pop()?.close();
      await new Promise((resolve) => setTimeout(resolve, 18 + round));
      const successor = await started('new');
      // Two more checks each: the first of them may have begun before the successor was bound.
      await furtherChecks(2, old, successor);
      expect(successor.problems()).toEqual([]);
      expect(old.problems()).toHaveLength(1);
      for (const one of open.splice(0)) await one.close();
    }
  });

  test.each([
    ['a folder', () => mkdirSync(path)],
    ['a file', () => writeFileSync(path, 'no socket')],
  ])('do not treat %s as a dead process', async (_, create) => {
    const sockets = await started('a');
    unlinkSync(path);
    create();
    await furtherChecks(5, sockets);
    expect(sockets.problems()).toEqual([{ path, problem: expect.stringContaining('leads to') }]);
    expect(logged.filter((line) => line.includes('leads to'))).toHaveLength(1);
    await rm(path, { recursive: true });
    await eventually(async () => expect(await responderAt()).toBe('a cce'));
  });

  test('replace a live one without a gap', async () => {
    await foreignProvider();
    const responders: string[] = [];
    const stop = new AbortController();
    const polling = (async () => {
      while (!stop.signal.aborted) responders.push(await responderAt());
    })();
    await started('a');
    await eventually(async () => expect(responders).toContain('a cce'));
    stop.abort();
    await polling;
    expect(new Set(responders)).toEqual(new Set(['foreign', 'a cce']));
  });

  test('may have a path of 107 bytes, and not a longer one', async () => {
    const fits = join(folder, 'd'.repeat(107 - folder.length - '//cce.sock'.length));
    await started('a', { providersDir: fits });
    expect(Buffer.byteLength(join(fits, 'cce.sock'))).toBe(107);
    expect(await responderAt(join(fits, 'cce.sock'))).toBe('a cce');
    await expect(started('a', { providersDir: `${fits}d` })).rejects.toMatchObject({
      code: 'NOT_CONFIGURED',
      message: expect.stringContaining('takes 108 bytes, and the limit for a unix socket is 107'),
    });
  });

  test('are bound again when their path is unlinked, and report it', async () => {
    const sockets = await started('a', { pollMs: 100_000 }); // the file system's notification suffices
    await unlink(path);
    await eventually(async () => expect(await responderAt()).toBe('a cce'));
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await eventually(async () =>
      expect(await sockets.metrics()).toContain('keyferry_socket_rebinds_total{provider="cce"} 1'),
    );
    expect(sockets.problems()).toEqual([]);
  });

  test('are bound again when the whole folder is gone', async () => {
    await started('a');
    // In one step: a socket that is bound again would prevent the removal.
    await rename(folder, `${folder}-gone`);
    await rm(`${folder}-gone`, { recursive: true });
    await eventually(async () => expect(await responderAt()).toBe('a cce'));
  });

  test('survive the provider that they replaced, which unlinks by name when it stops', async () => {
    const foreign = await foreignProvider();
    const sockets = await started('a');
    foreign.close();
    await eventually(async () => expect(await responderAt()).toBe('a cce'));
    expect(sockets.problems()).toEqual([]);
  });

  test('keep open connections when the path is unlinked', async () => {
    const connections: { write(text: string): unknown }[] = [];
    await started('a', { onConnection: (_, socket) => connections.push(socket) });
    const client = connect(path);
    const received = new Promise((resolve) =>
      client.on('data', (data) => resolve(data.toString())),
    );
    await eventually(async () => expect(connections).toHaveLength(1));
    await unlink(path);
    await eventually(async () => {
      await stat(path);
    });
    connections[0]!.write('still here');
    expect(await received).toBe('still here');
    client.destroy();
  });

  test('leave a path that leads to another process, and report it', async () => {
    const sockets = await started('a');
    const foreign = await foreignProvider(join(folder, 'new'));
    await rename(join(folder, 'new'), path);
    await eventually(async () =>
      expect(sockets.problems()).toEqual([
        { path, problem: expect.stringContaining('another process') },
      ]),
    );
    expect(await sockets.metrics()).toContain('keyferry_socket_owned{provider="cce"} 0');
    expect(logged.join('')).toContain('another process');
    expect(await responderAt()).toBe('foreign');

    foreign.close();
    await unlink(path);
    await eventually(async () => expect(await responderAt()).toBe('a cce'));
    await eventually(() => expect(sockets.problems()).toEqual([]));
    expect(await sockets.metrics()).toContain('keyferry_socket_owned{provider="cce"} 1');
  });

  test('never replace a path that another process has just bound', async () => {
    await foreignProvider();
    expect(
      await bindSocket(path, { replace: false, onConnection: () => undefined }),
    ).toBeUndefined();
    expect(await responderAt()).toBe('foreign');
    expect(await readdir(folder)).toEqual(['cce.sock']);
  });

  test('leave the path to a successor when they close', async () => {
    const old = await started('old');
    const successor = await started('new');
    await old.close();
    expect(await responderAt()).toBe('new cce');
    await successor.close();
    expect(await readdir(folder)).toEqual([]);
  });

  test('remove their paths when they close', async () => {
    const sockets = await started('a', { providers: ['cce', 'local'] });
    await sockets.close();
    expect(await readdir(folder)).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(await readdir(folder)).toEqual([]);
  });

  test('remove the folders of crashed processes after a minute', async () => {
    await mkdir(join(folder, '.kfa1b'));
    await writeFile(join(folder, '.kfa1b/s'), '');
    await writeFile(join(folder, '.kf-not-ours'), '');
    await removeLeftovers(folder);
    expect(await readdir(folder)).toEqual(['.kf-not-ours', '.kfa1b']);
    await removeLeftovers(folder, Date.now() + 61_000);
    expect(await readdir(folder)).toEqual(['.kf-not-ours']);
  });
});
