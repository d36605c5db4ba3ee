import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import type { LogEntry, LogQuery } from '../agent-api.ts';
import { JsonServer } from './json-server.ts';
import { RecentLog } from './recent-log.ts';

const maxBytes = 2 ** 20;
let now: number;
let log: RecentLog;
let stop: AbortController;
beforeEach(() => {
  now = 1_000;
  log = new RecentLog({ maxBytes, now: () => now });
  stop = new AbortController();
});
afterEach(() => stop.abort());

const write = (msg: string | number, fields: object = {}): void =>
  log.write(`${JSON.stringify({ time: 't', level: 'info', msg: String(msg), ...fields })}\n`);

const parse = (line: string): LogEntry => JSON.parse(line) as LogEntry;
const textOf = (entry: LogEntry): string => ('msg' in entry ? entry.msg : 'missed');

/** The messages of the lines that are there. */
async function read(query: LogQuery = {}): Promise<readonly string[]> {
  const messages: string[] = [];
  for await (const line of log.read(query, stop.signal)) messages.push(textOf(parse(line)));
  return messages;
}

describe('the last lines of the log', () => {
  test('are all that fit, the newest', async () => {
    for (let n = 0; n < 10_000; n++) write(n, { text: 'x'.repeat(100) });
    const messages = await read();
    expect(messages.length).toBeGreaterThan(1_000);
    expect(messages.length * 200).toBeLessThan(maxBytes);
    expect(messages.at(-1)).toBe('9999');
    expect(messages).toEqual(messages.map((_, index) => String(10_000 - messages.length + index)));
  });

  test('do not have a line that is larger than all of them may be', async () => {
    write('small');
    write('x'.repeat(maxBytes));
    expect(await read()).toEqual([]);
    write('next');
    expect(await read()).toEqual(['next']);
  });

  test('can be the newest ones, those since a time, or both', async () => {
    for (const n of [1, 2, 3, 4]) {
      now = n * 1_000;
      write(n);
    }
    expect(await read({ tail: 3 })).toEqual(['2', '3', '4']);
    expect(await read({ tail: 0 })).toEqual([]);
    expect(await read({ since: 3_000 })).toEqual(['3', '4']);
    expect(await read({ since: 2_000, tail: 1 })).toEqual(['4']);
    expect(await read({ since: 5_000 })).toEqual([]);
  });

  test('can be those about a project and its services', async () => {
    write('of the agent');
    for (const project of ['shop', 'blog'])
      for (const service of ['app', 'web', 'db'])
        write(`${project}/${service}`, { project, service });
    expect(await read({ project: 'shop' })).toEqual(['shop/app', 'shop/web', 'shop/db']);
    expect(await read({ project: 'shop', tail: 1 })).toEqual(['shop/db']);
    const services = ['app', 'db'];
    expect(await read({ project: 'blog', services })).toEqual(['blog/app', 'blog/db']);
  });
});

describe('a reader that follows', () => {
  test('gets the lines to come, until it leaves', async () => {
    write('before');
    const reader = log.read({ follow: true, tail: 0 }, stop.signal);
    const first = reader.next();
    write('first');
    write('second');
    expect(textOf(parse((await first).value as string))).toBe('first');
    expect(textOf(parse((await reader.next()).value as string))).toBe('second');
    const third = reader.next();
    await turn();
    stop.abort();
    expect(await third).toEqual({ done: true, value: undefined });
  });

  test('that is slow over a socket misses lines and is told so, and the log does not wait', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'kf-log-'));
    const socketPath = join(folder, 'agent.sock');
    const server = new JsonServer({
      ...{ path: socketPath, flag: '--socket', mode: 0o600, maxBodyBytes: 0 },
      ...{ contentType: 'application/json', log: pino({ level: 'silent' }) },
      handle: async ({ signal }) => ({ status: 200, lines: log.read({ follow: true }, signal) }),
      onError: () => ({ status: 500, json: {} }),
    });
    await server.start();
    try {
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        request({ socketPath, agent: false }, resolve).once('error', reject).end();
      });
      const total = 50_000;
      const filler = 'x'.repeat(500);
      for (let n = 0; n < total; n++) {
        write(n, { filler });
        // The server sends what the socket takes.
        if (n % 100 === 0) await turn();
      }
      const entries: LogEntry[] = [];
      let bytes = 0;
      let rest = '';
      for await (const piece of response.setEncoding('utf8')) {
        bytes += (piece as string).length;
        const lines = (rest + (piece as string)).split('\n');
        rest = lines.pop() ?? '';
        entries.push(...lines.map(parse));
        if (entries.some((entry) => 'msg' in entry && entry.msg === String(total - 1))) break;
      }
      const missed = entries.flatMap((entry) => ('missed' in entry ? [entry.missed] : []));
      const sum = missed.reduce<number>((all, count) => all + Number(count), 0);
      expect(sum).toBeGreaterThan(total / 2);
      expect(sum + entries.length - missed.length).toBe(total);
      // What the sockets hold, and the log.
      expect(bytes).toBeLessThan(4 * maxBytes);
    } finally {
      server.unbind();
      server.close();
      rmSync(folder, { recursive: true });
    }
  });
});
