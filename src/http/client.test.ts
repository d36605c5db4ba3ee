import { afterEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import {
  type AddressInfo,
  type Server,
  type Socket,
  connect as connectTcp,
  createServer,
} from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { missingPath } from '../../test/missing-path.ts';
import { rejectedError } from '../../test/fakes/failure.ts';
import { type FakeServer, startFakeServer } from '../../test/fakes/http-server.ts';
import { createTestCa } from '../../test/fakes/tls.ts';
import { runAs } from '../concurrency/caller.ts';
import { SecretError } from '../core/errors.ts';
import { Redacted } from '../core/redacted.ts';
import {
  type HttpClient,
  type HttpClientOptions,
  type HttpRequest,
  createHttpClient,
} from './client.ts';

const neverAborted = new AbortController().signal;
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of cleanups.splice(0).reverse()) await close();
});

function clientOf(options?: HttpClientOptions): HttpClient {
  const http = createHttpClient(options);
  cleanups.push(() => http.close());
  return http;
}

async function serverOf(
  options: Partial<Parameters<typeof startFakeServer>[0]> = {},
): Promise<FakeServer> {
  const server = await startFakeServer({
    handler: ({ method, path, query, headers, body }) => ({
      body: { method, path, query, headers, body: body.toString() },
    }),
    ...options,
  });
  cleanups.push(() => server.close());
  return server;
}

/** A server that sends raw bytes, for responses that no HTTP server sends. */
async function rawServer(onConnection: (socket: Socket) => void): Promise<URL> {
  const server: Server = createServer((socket) => {
    socket.on('error', () => undefined);
    onConnection(socket);
    // Unread bytes would prevent it from closing.
    socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => new Promise((resolve) => server.close(resolve)));
  return new URL(
    `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/secret?token=canary-query`,
  );
}

function send(http: HttpClient, request: Partial<HttpRequest> & { url: URL }) {
  return http.request({ method: 'GET', signal: neverAborted, ...request });
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe('a request', () => {
  test('sends method, path, query, headers and body, and returns status, headers and body', async () => {
    const server = await serverOf();
    server.injectFault();
    const response = await send(clientOf(), {
      method: 'POST',
      url: new URL('/v1/a%2Fb/secrets?limit=1&marker=x', server.url),
      headers: { 'X-Sdk-Date': '20060102T150405Z' },
      body: new TextEncoder().encode('{"name":"键"}'),
    });
    expect(response.status).toBe(200);
    expect(response.headers['content-type']).toBe('application/json');
    expect(JSON.parse(response.body.toString())).toMatchObject({
      method: 'POST',
      path: '/v1/a%2Fb/secrets',
      query: 'limit=1&marker=x',
      headers: { 'x-sdk-date': '20060102T150405Z', host: server.url.host },
      body: '{"name":"键"}',
    });
  });

  test('returns any status and follows no redirect', async () => {
    const server = await serverOf();
    server.injectFault({
      response: { status: 307, headers: { location: '/elsewhere', 'set-cookie': 'a=1' } },
    });
    const response = await send(clientOf(), { url: server.url });
    expect([response.status, response.headers.location, server.count()]).toEqual([
      307,
      '/elsewhere',
      1,
    ]);
    server.injectFault({ response: { status: 500, body: 'down' } });
    expect(await send(clientOf(), { url: server.url })).toMatchObject({
      status: 500,
      body: Buffer.from('down'),
    });
  });

  test('streams the body of a 200, and of no other status', async () => {
    const server = await serverOf({ handler: () => ({ body: Buffer.alloc(3_000_000, 'x') }) });
    let length = 0;
    const onData = (piece: Uint8Array): void => void (length += piece.length);
    const response = await send(clientOf(), { url: server.url, onData });
    expect([response.status, response.body.length, length]).toEqual([200, 0, 3_000_000]);
    server.injectFault({ response: { status: 403, body: 'no' } });
    const rejected = await send(clientOf(), { url: server.url, onData });
    expect([rejected.status, rejected.body.toString(), length]).toEqual([403, 'no', 3_000_000]);
  });

  test('rejects with the error that onData throws', async () => {
    const server = await serverOf({ handler: () => ({ body: Buffer.alloc(3_000_000) }) });
    const error = new SecretError('CANCELLED', 'stop');
    const onData = (): never => {
      throw error;
    };
    expect(await rejectedError(send(clientOf(), { url: server.url, onData }))).toBe(error);
  });

  test('passes over responses that precede the response proper', async () => {
    const url = await rawServer((socket) => {
      socket.write('HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n');
      socket.end('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody');
    });
    const { status, headers, body } = await send(clientOf(), { url });
    expect([status, headers, body.toString()]).toEqual([200, { 'content-length': '4' }, 'body']);
  });

  test('reuses a connection, and opens no more than allowed', async () => {
    const server = await serverOf();
    const http = clientOf({ connections: 2 });
    for (let count = 0; count < 5; count += 1) await send(http, { url: server.url });
    // The second request may start before the first connection is free.
    expect(server.connections).toBeLessThanOrEqual(2);
    server.injectFault({ delayMs: 5 });
    await Promise.all(Array.from({ length: 8 }, () => send(http, { url: server.url })));
    expect([server.connections, server.count()]).toEqual([2, 13]);
  });

  test('waits for the slow requests of its own namespace, and not for those of another one', async () => {
    const server = await serverOf();
    const http = clientOf();
    const sendFor = (namespace: string, path: string) =>
      runAs({ namespace, patience: () => 0 }, () =>
        send(http, { url: new URL(path, server.url), signal: caller.signal }),
      );
    const caller = new AbortController();
    server.injectFault({ route: 'GET /slow', hang: true });
    const slow = Array.from({ length: 500 }, () => sendFor('slow', '/slow').catch(() => 'ended'));
    await until(() => server.count('GET /slow') === 100);
    expect((await sendFor('neighbour', '/fast')).status).toBe(200);
    expect(server.count('GET /slow')).toBe(100);
    caller.abort();
    expect(new Set(await Promise.all(slow))).toEqual(new Set(['ended']));
  });

  test('that waits for another one ends by its own signal, and is not sent', async () => {
    const server = await serverOf();
    const http = clientOf({ connections: 1 });
    const [sent, waiting] = [new AbortController(), new AbortController()];
    server.injectFault({ hang: true });
    const first = send(http, { url: server.url, signal: sent.signal }).catch(() => 'ended');
    await until(() => server.count() === 1);
    const left = new SecretError('CANCELLED', 'left');
    const second = rejectedError(
      send(http, { url: server.url, signal: sent.signal, waitSignal: waiting.signal }),
    );
    waiting.abort(left);
    expect(await second).toBe(left);
    sent.abort();
    expect([await first, server.count()]).toEqual(['ended', 1]);
  });

  test('goes over a unix socket', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'http-'));
    cleanups.push(() => rm(directory, { recursive: true }));
    const socketPath = join(directory, 'agent.sock');
    await serverOf({ socketPath });
    const response = await send(clientOf(), { url: new URL('http://localhost/v1/x'), socketPath });
    expect(JSON.parse(response.body.toString())).toMatchObject({ path: '/v1/x' });
    const gone = join(directory, 'gone.sock');
    expect(
      await rejectedError(
        send(clientOf(), { url: new URL('http://localhost/'), socketPath: gone }),
      ),
    ).toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: `${gone} has no socket there (ENOENT)`,
    });
  });

  test('accepts a body up to its limit and aborts above it', async () => {
    const server = await serverOf();
    server.injectFault({ response: { body: Buffer.alloc(1_000, 'x') } });
    const http = clientOf();
    expect((await send(http, { url: server.url, maxBytes: 1_000 })).body).toHaveLength(1_000);
    expect(await rejectedError(send(http, { url: server.url, maxBytes: 999 }))).toMatchObject({
      code: 'STORE_ANSWER_TOO_LARGE',
      message: `${server.url.host} sent more than 999 bytes`,
    });
  });

  test('counts while streaming, so an endless body is aborted', async () => {
    let sent = 0;
    const url = await rawServer((socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      const more = (): void => {
        sent += 65_536;
        socket.write(Buffer.alloc(65_536), () => !socket.destroyed && setImmediate(more));
      };
      more();
    });
    const failure = await rejectedError(send(clientOf(), { url }));
    expect(failure.code).toBe('STORE_ANSWER_TOO_LARGE');
    expect(sent).toBeLessThan(16 * 1_048_576);
  });
});

describe('a failure', () => {
  test('names the host and the cause, and nothing of the request or the response', async () => {
    const canaries = /canary/;
    const server = await serverOf();
    const request = {
      method: 'POST',
      url: new URL('/canary-path?canary=query', server.url),
      headers: { authorization: 'canary-header' },
      body: 'canary-body',
    };
    const failures: [string, SecretError][] = [];
    for (const [name, fault] of [
      ['reset', { reset: true }],
      ['truncated', { truncate: true, response: { body: 'canary'.repeat(1_000) } }],
    ] as const) {
      server.injectFault(fault);
      failures.push([name, await rejectedError(send(clientOf(), request))]);
    }
    const nonsense = await rawServer((socket) => socket.end('canary: this is no HTTP\r\n\r\n'));
    failures.push([
      'nonsense',
      await rejectedError(send(clientOf(), { ...request, url: nonsense })),
    ]);
    const headers = await rawServer((socket) =>
      socket.end(`HTTP/1.1 200 OK\r\nx: ${'canary'.repeat(9_999)}\r\n\r\n`),
    );
    failures.push(['headers', await rejectedError(send(clientOf(), { ...request, url: headers }))]);
    expect(failures.map(([name, { code }]) => [name, code])).toEqual([
      ['reset', 'STORE_UNAVAILABLE'],
      ['truncated', 'STORE_UNAVAILABLE'],
      ['nonsense', 'STORE_ANSWER_INVALID'],
      ['headers', 'STORE_ANSWER_INVALID'],
    ]);
    expect(failures[0]![1].message).toBe(
      `${server.url.host} broke the connection (UND_ERR_SOCKET)`,
    );
    for (const [, { summary, cause }] of failures) {
      expect(summary).not.toMatch(canaries);
      expect(cause).toBeUndefined();
    }
    // No request was retried.
    expect(server.count()).toBe(2);
  });

  test('to connect is STORE_UNAVAILABLE with the cause', async () => {
    const server = await serverOf();
    await server.close();
    expect(await rejectedError(send(clientOf(), { url: server.url }))).toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: `${server.url.host} refused the connection (ECONNREFUSED)`,
    });
    const unknown = await rejectedError(
      send(clientOf(), { url: new URL('https://kms.nowhere.invalid/x') }),
    );
    expect(unknown.code).toBe('STORE_UNAVAILABLE');
    expect(unknown.message).toMatch(/^kms\.nowhere\.invalid .*DNS.* \((ENOTFOUND|EAI_AGAIN)\)$/);
  });

  test('reports whether the request certainly was not sent', async () => {
    const gone = await serverOf();
    await gone.close();
    const ca = createTestCa();
    const untrusted = await serverOf({ tls: ca.issue() });
    for (const url of [gone.url, new URL('https://kms.nowhere.invalid'), untrusted.url])
      expect(await rejectedError(send(clientOf(), { url }))).toMatchObject({ unsent: true });
    expect(
      await rejectedError(send(clientOf(), { url: gone.url, socketPath: missingPath() })),
    ).toMatchObject({
      unsent: true,
    });

    const server = await serverOf();
    for (const fault of [{ reset: true }, { truncate: true }, { hang: true }]) {
      server.injectFault(fault);
      const error = await rejectedError(send(clientOf(), { url: server.url, timeoutMs: 50 }));
      expect(error).toMatchObject({ unsent: false });
    }
  });

  test('to respond in time is STORE_TIMEOUT at every stage', async () => {
    const server = await serverOf();
    const message = `${server.url.host} did not respond within 0.02 s`;
    server.injectFault({ hang: true });
    const hung = send(clientOf(), { url: server.url, timeoutMs: 20 });
    expect(await rejectedError(hung)).toMatchObject({ code: 'STORE_TIMEOUT', message });
    const stalled = await rawServer((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf');
      cleanups.push(async () => socket.destroy());
    });
    expect(await rejectedError(send(clientOf(), { url: stalled, timeoutMs: 20 }))).toMatchObject({
      code: 'STORE_TIMEOUT',
    });
  });

  test('is the reason of the signal when it fires, and the connection is closed', async () => {
    const server = await serverOf();
    server.injectFault({ hang: true });
    const reason = new SecretError('CANCELLED', 'cancelled');
    const caller = new AbortController();
    const http = clientOf();
    const failure = rejectedError(send(http, { url: server.url, signal: caller.signal }));
    await until(() => server.count() === 1);
    caller.abort(reason);
    expect(await failure).toBe(reason);
    expect(await rejectedError(send(http, { url: server.url, signal: caller.signal }))).toBe(
      reason,
    );
    server.injectFault();
    await send(http, { url: server.url });
    expect(server.count()).toBe(2);
    expect(server.connections).toBeGreaterThan(1);
  });

  test('of an invalid header is INTERNAL, and its value stays private', async () => {
    const server = await serverOf();
    const response = send(clientOf(), {
      url: server.url,
      headers: { authorization: 'canary\r\nx: y' },
    });
    const failure = await rejectedError(response);
    expect(failure.code).toBe('INTERNAL');
    expect(String((failure.cause as Error).stack)).not.toContain('canary');
  });

  test('after close is SHUTTING_DOWN, and so are the requests in flight', async () => {
    const server = await serverOf();
    server.injectFault({ hang: true });
    const http = createHttpClient();
    const inFlight = rejectedError(send(http, { url: server.url }));
    await until(() => server.count() === 1);
    await http.close();
    expect((await inFlight).code).toBe('SHUTTING_DOWN');
    expect((await rejectedError(send(http, { url: server.url }))).code).toBe('SHUTTING_DOWN');
  });
});

describe('over TLS', () => {
  const ca = createTestCa();
  const other = createTestCa('Other CA');

  test('trusts the authorities of the operator in addition to the others', async () => {
    const server = await serverOf({ tls: ca.issue() });
    const http = clientOf({ ca: [other.cert, ca.cert] });
    expect((await send(http, { url: server.url })).status).toBe(200);
    expect(
      (await send(http, { url: new URL(server.url.href.replace('127.0.0.1', 'localhost')) }))
        .status,
    ).toBe(200);
  });

  test('names the problem of a certificate', async () => {
    const past = { notBefore: new Date('2020-01-01'), notAfter: new Date('2020-02-01') };
    const future = { notBefore: new Date('2120-01-01'), notAfter: new Date('2120-02-01') };
    const messageFor = async (
      tls: { cert: string; key: string },
      trusted = ca.cert,
    ): Promise<string> => {
      const server = await serverOf({ tls });
      const failure = await rejectedError(send(clientOf({ ca: [trusted] }), { url: server.url }));
      expect(failure.code).toBe('STORE_UNAVAILABLE');
      return failure.summary.replace(server.url.host, 'HOST');
    };
    expect(await messageFor(ca.issue(past))).toBe(
      'HOST shows a certificate that has expired (CERT_HAS_EXPIRED)',
    );
    expect(await messageFor(ca.issue(future))).toBe(
      'HOST shows a certificate that is not yet valid (CERT_NOT_YET_VALID); check the clock of the node',
    );
    expect(await messageFor(ca.issue({ hosts: ['elsewhere.example'] }))).toBe(
      'HOST shows a certificate for another name (ERR_TLS_CERT_ALTNAME_INVALID)',
    );
    expect(await messageFor(ca.issue(), other.cert)).toMatch(
      /^HOST shows a certificate of an unknown authority \(UNABLE_[A-Z_]+\); .*--ca-file, or ca_file in dso\.yaml$/,
    );
  });

  test('reports a server that does not speak TLS', async () => {
    const server = await serverOf();
    const url = new URL(server.url.href.replace('http:', 'https:'));
    expect((await rejectedError(send(clientOf(), { url }))).message).toMatch(
      / does not speak TLS, or no version that Keyferry supports \(/,
    );
  });

  test('applies the settings of a request to that request only', async () => {
    const server = await serverOf({ tls: ca.issue() });
    const http = clientOf();
    expect((await send(http, { url: server.url, tls: { ca: ca.cert } })).status).toBe(200);
    expect((await send(http, { url: server.url, tls: { rejectUnauthorized: false } })).status).toBe(
      200,
    );
    expect((await rejectedError(send(http, { url: server.url }))).message).toContain(
      'unknown authority',
    );
    const trusting = clientOf({ ca: [ca.cert] });
    const replaced = await rejectedError(
      send(trusting, { url: server.url, tls: { ca: other.cert } }),
    );
    expect(replaced.message).toContain('unknown authority');
  });

  test('accepts an intermediate as authority if the settings allow it', async () => {
    const intermediate = ca.intermediate('Intermediate');
    const server = await serverOf({ tls: intermediate.issue() });
    const http = clientOf();
    const tls = { ca: intermediate.cert };
    expect((await rejectedError(send(http, { url: server.url, tls }))).message).toContain(
      'unknown authority',
    );
    const partial = { ...tls, allowPartialTrustChain: true };
    expect((await send(http, { url: server.url, tls: partial })).status).toBe(200);
  });

  test('expects the configured server name', async () => {
    const server = await serverOf({ tls: ca.issue({ hosts: ['vault.example'] }) });
    const tls = { ca: ca.cert, servername: 'vault.example' };
    expect((await send(clientOf(), { url: server.url, tls })).status).toBe(200);
  });

  test('sends its client certificate, and distinguishes two keys', async () => {
    const server = await serverOf({ tls: { ...ca.issue(), ca: ca.cert, requestCert: true } });
    const http = clientOf();
    const { cert, key } = ca.issue({ hosts: ['client'] });
    expect(
      (await send(http, { url: server.url, tls: { ca: ca.cert, cert, key: new Redacted(key) } }))
        .status,
    ).toBe(200);
    const foreign = new Redacted(ca.issue().key);
    expect(
      await rejectedError(
        send(http, { url: server.url, tls: { ca: ca.cert, cert, key: foreign } }),
      ),
    ).toMatchObject({
      code: 'NOT_CONFIGURED',
    });
    const noPem = await rejectedError(send(http, { url: server.url, tls: { ca: 'canary' } }));
    expect(noPem).toMatchObject({ code: 'NOT_CONFIGURED' });
    expect(noPem.cause).toBeUndefined();
    expect(noPem.summary).not.toContain('canary');
  });
});

describe('with a proxy', () => {
  /** A proxy that tunnels every connection to `target`, and forwards plain http. */
  async function proxyOf(target: URL, status = 200) {
    const seen: string[] = [];
    const url = await rawServer((socket) => {
      socket.once('data', (head) => {
        const lines = head.toString().split('\r\n');
        const credentials = lines.find((line) =>
          line.toLowerCase().startsWith('proxy-authorization'),
        );
        seen.push([lines[0], credentials].join(' ').trim());
        if (status !== 200) return socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`);
        const onward = connectTcp(Number(target.port), '127.0.0.1');
        onward.on('error', () => undefined);
        socket.on('close', () => onward.destroy());
        if (lines[0]!.startsWith('CONNECT')) socket.write('HTTP/1.1 200 OK\r\n\r\n');
        else onward.write(head);
        return socket.pipe(onward).pipe(socket);
      });
    });
    return { seen, host: url.host };
  }

  test('https is tunnelled and verified end to end, with the credentials of the proxy', async () => {
    const ca = createTestCa();
    const server = await serverOf({ tls: ca.issue({ hosts: ['kms.example.com'] }) });
    const proxy = await proxyOf(server.url);
    const http = clientOf({
      ca: [ca.cert],
      proxy: { httpsProxy: `http://user:p%40ss@${proxy.host}` },
    });
    const response = await send(http, { url: new URL('https://kms.example.com/v1/x') });
    expect(JSON.parse(response.body.toString())).toMatchObject({
      path: '/v1/x',
      headers: { host: 'kms.example.com' },
    });
    const credentials = Buffer.from('user:p@ss').toString('base64');
    expect(proxy.seen).toEqual([
      `CONNECT kms.example.com:443 HTTP/1.1 proxy-authorization: Basic ${credentials}`,
    ]);
    const wrong = await rejectedError(send(http, { url: new URL('https://other.example.com/') }));
    expect(wrong.message).toMatch(
      /^other\.example\.com \(by the proxy 127\.0\.0\.1:\d+\) shows a certificate for another name/,
    );
  });

  test('reused headers name each host', async () => {
    const server = await serverOf();
    const proxy = await proxyOf(server.url);
    const http = clientOf({ proxy: { httpProxy: proxy.host } });
    const headers = Object.freeze({ 'x-vault-request': 'true' });
    for (const host of ['one.example', 'two.example']) {
      const response = await send(http, { url: new URL(`http://${host}/`), headers });
      expect(JSON.parse(response.body.toString())).toMatchObject({ headers: { host } });
    }
  });

  test('plain http is forwarded with the full URL', async () => {
    const server = await serverOf();
    const proxy = await proxyOf(server.url);
    const http = clientOf({ proxy: { httpProxy: proxy.host } });
    expect((await send(http, { url: new URL('http://vault.example:8200/v1/x?a=b') })).status).toBe(
      200,
    );
    expect(proxy.seen).toEqual(['GET http://vault.example:8200/v1/x?a=b HTTP/1.1']);
  });

  test('direct requests and exceptions bypass it', async () => {
    const server = await serverOf();
    const http = clientOf({ proxy: { httpProxy: '127.0.0.1:9' } });
    expect((await send(http, { url: server.url })).status).toBe(200);
    expect((await send(http, { url: server.url, direct: true })).status).toBe(200);
  });

  test('a rejection names the proxy', async () => {
    const server = await serverOf();
    const proxy = await proxyOf(server.url, 407);
    const http = clientOf({ proxy: { httpsProxy: `http://user:canary@${proxy.host}` } });
    const failure = await rejectedError(send(http, { url: new URL('https://kms.example.com/') }));
    expect(failure).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(failure.message).toContain(
      `(by the proxy ${proxy.host}) cannot be reached: the proxy responded 407`,
    );
    expect(failure.summary).not.toContain('canary');
  });
});
