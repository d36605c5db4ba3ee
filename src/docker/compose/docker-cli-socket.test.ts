import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type Server, type Socket, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { watchDockerCli } from './docker-cli-socket.ts';

let folder: string;
let server: Server;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kf-cli-socket-'));
  path = join(folder, 'cli.sock');
  server = createServer().listen(path);
  await once(server, 'listening');
});
afterEach(async () => {
  server.close();
  await rm(folder, { recursive: true });
});

describe('the socket of the docker that runs the plugin', () => {
  test('says that docker stops when it closes, once', async () => {
    let stops = 0;
    const watch = watchDockerCli(path, () => (stops += 1));
    const [connection] = (await once(server, 'connection')) as [Socket];
    expect(stops).toBe(0);
    connection.destroy();
    while (stops === 0) await new Promise(setImmediate);
    watch.close();
    expect(stops).toBe(1);
  });

  test('says nothing after the plugin has closed it', async () => {
    let stops = 0;
    const watch = watchDockerCli(path, () => (stops += 1));
    const [connection] = (await once(server, 'connection')) as [Socket];
    watch.close();
    await once(connection.resume(), 'close');
    expect(stops).toBe(0);
  });

  test('may be absent, and may be gone already', async () => {
    let stops = 0;
    watchDockerCli('', () => (stops += 1)).close();
    const watch = watchDockerCli(join(folder, 'gone.sock'), () => (stops += 1));
    await new Promise(setImmediate);
    watch.close();
    expect(stops).toBe(0);
  });
});
