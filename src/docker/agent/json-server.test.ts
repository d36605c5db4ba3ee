import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { type Socket, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { JsonServer } from './json-server.ts';

let folder: string;
let path: string;
let server: JsonServer;
const clients: Socket[] = [];
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'kf-json-server-'));
  path = join(folder, 's');
  server = new JsonServer({
    ...{ path, flag: '--socket', mode: 0o600, maxBodyBytes: 1_000 },
    ...{ contentType: 'application/json', log: pino({ level: 'silent' }) },
    handle: () => Promise.resolve({ status: 200, json: {} }),
    onError: () => ({ status: 500, json: {} }),
  });
  await server.start();
});
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
  server.unbind();
  server.close();
  rmSync(folder, { recursive: true });
});

/** Connects, and asks. */
async function ask(): Promise<Socket> {
  const client = connect(path);
  clients.push(client);
  await once(client, 'connect');
  client.write('GET / HTTP/1.1\r\nhost: agent\r\n\r\n');
  return client;
}

test('serves 1,000 connections, and closes more of them, which would take all files', async () => {
  for (let count = 0; count < 1_000; count += 1) await once(await ask(), 'data');
  const more = await ask();
  more.on('error', () => undefined);
  let text = '';
  more.on('data', (piece: Buffer) => (text += piece.toString()));
  await new Promise((resolve) =>
    more.once('close', resolve).setTimeout(5_000, () => resolve(undefined)),
  );
  expect({ text, isOpen: !more.destroyed }).toEqual({ text: '', isOpen: false });
});
