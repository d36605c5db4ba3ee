import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { TLSSocket, type SecureContextOptions, type TlsOptions } from 'node:tls';

/** A received request with its body. */
export type FakeRequest = {
  readonly method: string;
  /** Percent-encoded, as sent. */
  readonly path: string;
  /** As sent, without `?`. */
  readonly query: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /**
   * The client certificate in DER, if the server requests one (`requestCert`). It is not verified.
   */
  readonly certificate?: Buffer;
};

/** A response. Default: status 200 without a body. An object is sent as JSON. */
export type FakeResponse = {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | object;
};

/**
 * A fault that a test injects into a server. Parts combine:
 * `{ delayMs: 50, response: { status: 429 } }`.
 */
export type InjectedFault = {
  /**
   * The requests that it affects: `METHOD path` matches, or starts with this text. Default: all.
   */
  readonly route?: string | RegExp;
  /** The number of requests that it affects. Default: all, until the next fault. */
  readonly times?: number;
  /** Waits first. */
  readonly delayMs?: number;
  /** Waits for this promise first. */
  readonly until?: Promise<unknown>;
  /** Sends no response. */
  readonly hang?: boolean;
  /** Closes the connection instead of responding. */
  readonly reset?: boolean;
  /** Closes the connection in the middle of the body. */
  readonly truncate?: boolean;
  /**
   * Sends this instead of calling the handler: throttling, a 500, a redirect, a huge body. A
   * function makes one for each request.
   */
  readonly response?: FakeResponse | (() => FakeResponse);
};

/** A server on 127.0.0.1 (or a unix socket) that counts requests and can inject faults. */
export type FakeServer = {
  /** `http(s)://127.0.0.1:port/`. */
  readonly url: URL;
  /** The number of accepted connections. */
  readonly connections: number;
  /** The latest 1,000 requests, oldest first. */
  readonly requests: readonly FakeRequest[];
  /** The number of requests whose `METHOD path` matches, or starts with this text. */
  count(route?: string | RegExp): number;
  /** Injects this fault from now on, instead of the previous one. Without an argument: none. */
  injectFault(fault?: InjectedFault): void;
  /** Closes all connections and stops. */
  close(): Promise<void>;
};

/**
 * Starts a server. `handler` responds to requests without a fault. If it throws, the response is
 * 500.
 */
export async function startFakeServer(options: {
  readonly handler: (request: FakeRequest) => FakeResponse | Promise<FakeResponse>;
  /** HTTPS with this certificate; plain HTTP without. */
  readonly tls?: SecureContextOptions & TlsOptions;
  /** Listens there instead of on a port. */
  readonly socketPath?: string;
}): Promise<FakeServer> {
  const { handler, tls, socketPath } = options;
  const counts = new Map<string, number>();
  const requests: FakeRequest[] = [];
  let connections = 0;
  let activeFault: InjectedFault = {};
  let remainingMatches = Infinity;

  function matchFault(request: FakeRequest): InjectedFault {
    if (remainingMatches <= 0 || !matches(route(request), activeFault.route ?? '')) return {};
    remainingMatches -= 1;
    return activeFault;
  }

  async function onRequest(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = await readRequest(incoming);
    counts.set(route(request), (counts.get(route(request)) ?? 0) + 1);
    if (requests.push(request) > 1_000) requests.shift();
    const fault = matchFault(request);
    if (fault.delayMs !== undefined)
      await new Promise((resolve) => setTimeout(resolve, fault.delayMs));
    await fault.until;
    if (fault.hang === true) return;
    if (fault.reset === true) {
      incoming.socket.destroy();
      return;
    }
    const injected = typeof fault.response === 'function' ? fault.response() : fault.response;
    send(response, injected ?? (await handler(request)), fault.truncate === true);
  }

  const listener = (incoming: IncomingMessage, response: ServerResponse): void => {
    onRequest(incoming, response).catch((error: unknown) => {
      if (incoming.socket.destroyed) return;
      send(response, { status: 500, body: String(error) });
    });
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  server.on('connection', () => (connections += 1));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    if (socketPath === undefined) server.listen(0, '127.0.0.1', resolve);
    else server.listen(socketPath, resolve);
  });
  const port = socketPath === undefined ? (server.address() as AddressInfo).port : 80;
  return {
    url: new URL(`${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}/`),
    get connections() {
      return connections;
    },
    requests,
    count: (pattern = '') =>
      [...counts].reduce((sum, [name, count]) => (matches(name, pattern) ? sum + count : sum), 0),
    injectFault(nextFault = {}) {
      activeFault = nextFault;
      remainingMatches = nextFault.times ?? Infinity;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function route({ method, path }: FakeRequest): string {
  return `${method} ${path}`;
}

function matches(name: string, pattern: string | RegExp): boolean {
  return typeof pattern === 'string' ? name.startsWith(pattern) : pattern.test(name);
}

async function readRequest(incoming: IncomingMessage): Promise<FakeRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const target = incoming.url ?? '/';
  const queryStart = target.indexOf('?');
  const certificate = certificateOf(incoming);
  return {
    method: incoming.method ?? 'GET',
    path: queryStart === -1 ? target : target.slice(0, queryStart),
    query: queryStart === -1 ? '' : target.slice(queryStart + 1),
    headers: incoming.headers,
    body: Buffer.concat(chunks),
    ...(certificate !== undefined && { certificate }),
  };
}

function certificateOf({ socket }: IncomingMessage): Buffer | undefined {
  // Without a certificate the object is empty, although its type has required fields.
  return socket instanceof TLSSocket
    ? (socket.getPeerCertificate() as { readonly raw?: Buffer }).raw
    : undefined;
}

function send(response: ServerResponse, fakeResponse: FakeResponse, truncate = false): void {
  const { status = 200, headers = {}, body = '' } = fakeResponse;
  const isJson = typeof body === 'object' && !(body instanceof Uint8Array);
  const bytes = Buffer.from(isJson ? JSON.stringify(body) : body);
  const type = isJson ? { 'content-type': 'application/json' } : {};
  response.writeHead(status, { ...type, 'content-length': bytes.length, ...headers });
  if (truncate) response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy());
  else response.end(bytes);
}
