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
import { createCsiMetrics } from './metrics.ts';
import { bindSocket, removeLeftovers } from './socket-file.ts';
import { createSockets, type Sockets, type SocketsOptions } from './sockets.ts';

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

/** Sockets that greet with the name of `process` and the provider's, then hang up. */
function keyferry(
  name: string,
  options: Partial<SocketsOptions> = {},
): Sockets & { metrics: () => Promise<string> } {
  const registry = new Registry();
  const sockets = createSockets({
    providersDir: folder,
    providers: ['cce'],
    // Who only looks whether somebody listens hangs up first.
    onConnection: (provider, socket) =>
      socket.on('error', () => undefined).end(`${name} ${provider}`),
    log: pino({ level: 'info' }, { write: (line: string) => logged.push(line) }),
    metrics: createCsiMetrics(registry),
    pollMs: 20,
    ...options,
  });
  open.push(sockets);
  return { ...sockets, metrics: () => registry.metrics() };
}

async function started(name: string, options: Partial<SocketsOptions> = {}) {
  const sockets = keyferry(name, options);
  await sockets.start();
  return sockets;
}

/** A provider as others write them: binds its path directly and unlinks it by name when it stops, whoever's it is by then. */
async function foreignProvider(at = path): Promise<Server> {
  const server = createServer((socket) => socket.on('error', () => undefined).end('foreign'));
  await new Promise<void>((resolve) => server.listen(at, resolve));
  open.push(server);
  return server;
}

/** Who answers at the path. */
async function responderAt(at = path): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    connect(at)
      .on('data', (data) => (text += data.toString()))
      .on('end', () => resolve(text))
      .on('error', reject);
  });
}

async function eventually(what: () => Promise<void>, withinMs = 1_000): Promise<void> {
  const end = Date.now() + withinMs;
  for (;;) {
    try {
      return await what();
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

describe('the providers’ sockets', () => {
  test('listen at their paths, for nobody but their owner', async () => {
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

  test('are never to be seen with another mode', async () => {
    const modes = new Set<number>();
    const enough = new AbortController();
    const looks = (async () => {
      while (!enough.signal.aborted) {
        for (const name of await readdir(folder)) {
          const seen = await lstat(join(folder, name)).catch(() => undefined);
          if (seen !== undefined) modes.add(seen.mode & 0o777);
        }
      }
    })();
    for (let n = 0; n < 20; n += 1) await started('a');
    enough.abort();
    await looks;
    // The folder in which they are made, and the sockets.
    expect([...modes].filter((mode) => mode !== 0o700)).toEqual([0o600]);
  });

  test('make their folder', async () => {
    await started('a', { providersDir: join(folder, 'x/y') });
    expect(await responderAt(join(folder, 'x/y/cce.sock'))).toBe('a cce');
  });

  test('take over a stale one', async () => {
    await foreignProvider(join(folder, 'old'));
    await rename(join(folder, 'old'), path);
    for (const one of open.splice(0)) one.close();
    await expect(responderAt()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await started('a');
    expect(await responderAt()).toBe('a cce');
  });

  test('come back where who took them over is dead: a new version that crashes must not take its node along', async () => {
    const old = await started('old');
    await foreignProvider(join(folder, 'new'));
    await rename(join(folder, 'new'), path);
    await eventually(async () => expect(old.problems()).toHaveLength(1));
    expect(await responderAt()).toBe('foreign');
    // Its name at birth goes with it, the path stays: as after a kill.
    open.pop()?.close();
    await eventually(async () => expect(await responderAt()).toBe('old cce'));
    await eventually(async () => expect(old.problems()).toEqual([]));
    expect(await old.metrics()).toContain('keyferry_socket_rebinds_total{provider="cce"} 1');
  });

  test('never take the place of a successor that comes back as they do', async () => {
    for (let round = 0; round < 25; round += 1) {
      const old = await started('old');
      await foreignProvider(join(folder, 'new'));
      await rename(join(folder, 'new'), path);
      open.pop()?.close();
      await new Promise((resolve) => setTimeout(resolve, 18 + round));
      const successor = await started('new');
      // Both have looked since.
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(successor.problems()).toEqual([]);
      expect(old.problems()).toHaveLength(1);
      for (const one of open.splice(0)) await one.close();
    }
  });

  test.each([
    ['a folder', () => mkdirSync(path)],
    ['a file', () => writeFileSync(path, 'no socket')],
  ])('do not take %s for a process that is dead', async (_, make) => {
    const sockets = await started('a');
    unlinkSync(path);
    make();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(sockets.problems()).toEqual([expect.stringContaining('leads to')]);
    expect(logged.filter((line) => line.includes('"level":"error"')).length).toBeLessThan(3);
    await rm(path, { recursive: true });
    await eventually(async () => expect(await responderAt()).toBe('a cce'));
  });

  test('take over a living one without a gap', async () => {
    await foreignProvider();
    const answers: string[] = [];
    const enough = new AbortController();
    const asks = (async () => {
      while (!enough.signal.aborted) answers.push(await responderAt());
    })();
    await started('a');
    await eventually(async () => expect(answers).toContain('a cce'));
    enough.abort();
    await asks;
    expect(new Set(answers)).toEqual(new Set(['foreign', 'a cce']));
  });

  test('may have a path of 107 bytes, and no longer one', async () => {
    const fits = join(folder, 'd'.repeat(107 - folder.length - '//cce.sock'.length));
    await started('a', { providersDir: fits });
    expect(Buffer.byteLength(join(fits, 'cce.sock'))).toBe(107);
    expect(await responderAt(join(fits, 'cce.sock'))).toBe('a cce');
    await expect(started('a', { providersDir: `${fits}d` })).rejects.toMatchObject({
      code: 'NOT_CONFIGURED',
      message: expect.stringContaining("takes 108 bytes, and a unix socket's at most 107"),
    });
  });

  test('are bound again when their path is unlinked, and say so', async () => {
    const sockets = await started('a', { pollMs: 100_000 }); // the file system's notice is enough
    await unlink(path);
    await eventually(async () => expect(await responderAt()).toBe('a cce'));
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await eventually(async () =>
      expect(await sockets.metrics()).toContain('keyferry_socket_rebinds_total{provider="cce"} 1'),
    );
    expect(sockets.problems()).toEqual([]);
  });

  test('are bound again where the whole folder is gone', async () => {
    await started('a');
    // At once: while it is emptied, a socket that is bound again would be in the way.
    await rename(folder, `${folder}-gone`);
    await rm(`${folder}-gone`, { recursive: true });
    await eventually(async () => expect(await responderAt()).toBe('a cce'));
  });

  test('survive the provider they replaced, which unlinks by name as it stops', async () => {
    const vendors = await foreignProvider();
    const sockets = await started('a');
    vendors.close();
    await eventually(async () => expect(await responderAt()).toBe('a cce'));
    expect(sockets.problems()).toEqual([]);
  });

  test('keep connections that were made before the path went', async () => {
    const connections: { write(text: string): unknown }[] = [];
    await started('a', { onConnection: (_, socket) => connections.push(socket) });
    const client = connect(path);
    const heard = new Promise((resolve) => client.on('data', (data) => resolve(data.toString())));
    await eventually(async () => expect(connections).toHaveLength(1));
    await unlink(path);
    await eventually(async () => {
      await stat(path);
    });
    connections[0]!.write('still here');
    expect(await heard).toBe('still here');
    client.destroy();
  });

  test('do not fight over a path that leads to somebody else, and say so', async () => {
    const sockets = await started('a');
    const foreign = await foreignProvider(join(folder, 'new'));
    await rename(join(folder, 'new'), path);
    await eventually(async () =>
      expect(sockets.problems()).toEqual([expect.stringContaining('another process')]),
    );
    expect(await sockets.metrics()).toContain('keyferry_socket_owned{provider="cce"} 0');
    expect(logged.join('')).toContain('another process');
    expect(await responderAt()).toBe('foreign');

    foreign.close();
    await unlink(path);
    await eventually(async () => expect(await responderAt()).toBe('a cce'));
    expect(sockets.problems()).toEqual([]);
    expect(await sockets.metrics()).toContain('keyferry_socket_owned{provider="cce"} 1');
  });

  test('never take a path that another has taken the moment before', async () => {
    await foreignProvider();
    expect(
      await bindSocket(path, { replace: false, onConnection: () => undefined }),
    ).toBeUndefined();
    expect(await responderAt()).toBe('foreign');
    expect(await readdir(folder)).toEqual(['cce.sock']);
  });

  test('leave the path to a successor when they close', async () => {
    const old = await started('old');
    const young = await started('young');
    await old.close();
    expect(await responderAt()).toBe('young cce');
    await young.close();
    expect(await readdir(folder)).toEqual([]);
  });

  test('remove their paths when they close', async () => {
    const sockets = await started('a', { providers: ['cce', 'local'] });
    await sockets.close();
    expect(await readdir(folder)).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(await readdir(folder)).toEqual([]);
  });

  test('clear away what crashed ones left half made, once it is a minute old', async () => {
    await mkdir(join(folder, '.kfa1b'));
    await writeFile(join(folder, '.kfa1b/s'), '');
    await writeFile(join(folder, '.kf-not-ours'), '');
    await removeLeftovers(folder);
    expect(await readdir(folder)).toEqual(['.kf-not-ours', '.kfa1b']);
    await removeLeftovers(folder, Date.now() + 61_000);
    expect(await readdir(folder)).toEqual(['.kf-not-ours']);
  });
});
