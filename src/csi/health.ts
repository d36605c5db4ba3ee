import { rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { ListenOptions, Socket } from 'node:net';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { SecretError, errorCodeOf } from '../core/errors.ts';

/**
 * The limit of open connections at one address. Every pod of the cluster may reach it; a kubelet
 * and some scrapers need a handful.
 */
const maxConnections = 50;

/** Options of a {@link HealthServer}. */
export type HealthOptions = {
  /**
   * `host:port` or `unix:/path`, several separated by commas. The first one must be free. The
   * server waits for another one that is in use: where pods share the network of their node, an old
   * and a new pod share one port during an update.
   */
  readonly address: string;
  /** The problems of the sockets, as a driver sees them. */
  readonly probe: () => Promise<readonly string[]>;
  /** The reasons why this process is not ready. */
  readonly problems: () => Promise<readonly string[]>;
  readonly registry: Registry;
  readonly log: Logger;
  /** Milliseconds between two tries to listen at an address in use. Default 500. */
  readonly retryMs?: number;
};

/** An address, as the user wrote it and as Node takes it. */
type Address = { readonly text: string; readonly listen: ListenOptions };

type HealthResponse = {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
};

/**
 * Serves over HTTP
 *  - `/healthz`: 200 `ok` if Keyferry responds on every socket, else 503 and one reason a line
 *  - `/readyz`: 200 or 503, `{"ready": boolean, "reasons": [...]}`: whether this process or its
 *    successor owns every socket's path
 *  - `/metrics`: Prometheus
 */
export class HealthServer {
  readonly #options: HealthOptions;
  readonly #servers: Server[] = [];
  /** Concurrent requests share one probe of each kind, and one rendering of the metrics. */
  readonly #probe: () => Promise<readonly string[]>;
  readonly #problems: () => Promise<readonly string[]>;
  readonly #renderMetrics: () => Promise<string>;
  readonly #busySockets = new WeakSet<Socket>();
  #closed = false;

  constructor(options: HealthOptions) {
    this.#options = options;
    this.#probe = coalesce(options.probe);
    this.#problems = coalesce(options.problems);
    this.#renderMetrics = coalesce(() => options.registry.metrics());
  }

  /**
   * Listens at every address.
   * @returns the port of the first address, if it has one
   * @throws SecretError NOT_CONFIGURED if it cannot listen at the first address
   */
  async start(): Promise<number | undefined> {
    const { address, log } = this.#options;
    const [first, ...others] = address.split(',').map(parseAddress);
    if (first === undefined) return undefined;
    const server = await this.#listen(first).catch((error: unknown) => {
      throw cannotListen(first, error);
    });
    for (const other of others)
      this.#listenWhenFree(other).catch((error: unknown) => {
        log.error({ address: other.text, code: errorCodeOf(error) }, 'health cannot listen there');
      });
    const bound = server.address();
    return typeof bound === 'object' ? bound?.port : undefined;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    for (const server of this.#servers) server.closeAllConnections();
    await Promise.all(closed);
  }

  async #respond(path: string): Promise<HealthResponse> {
    if (path === '/healthz') {
      const reasons = await this.#probe();
      const body = `${reasons.join('\n') || 'ok'}\n`;
      return { status: reasons.length === 0 ? 200 : 503, contentType: 'text/plain', body };
    }
    if (path === '/readyz') {
      const reasons = await this.#problems();
      const ready = reasons.length === 0;
      const body = `${JSON.stringify({ ready, reasons })}\n`;
      return { status: ready ? 200 : 503, contentType: 'application/json', body };
    }
    if (path === '/metrics') {
      const { contentType } = this.#options.registry;
      return { status: 200, contentType, body: await this.#renderMetrics() };
    }
    const body = 'not found: the paths are /healthz, /readyz and /metrics\n';
    return { status: 404, contentType: 'text/plain', body };
  }

  #onRequest({ url, socket }: IncomingMessage, response: ServerResponse): void {
    const busySockets = this.#busySockets;
    // A health client sends its next request after the response to the previous one. One read from
    // the socket can hold thousands of pipelined requests.
    if (busySockets.has(socket)) {
      socket.destroy();
      return;
    }
    busySockets.add(socket);
    let openResponse: ServerResponse | undefined = response;
    response.once('close', function (this: ServerResponse) {
      busySockets.delete(this.req.socket);
      // Releases the request: the pending promise below refers to this variable.
      openResponse = undefined;
    });
    const send = ({ status, contentType, body }: HealthResponse): void =>
      void openResponse?.writeHead(status, { 'content-type': contentType }).end(body);
    this.#respond(url?.split('?', 1)[0] ?? '').then(send, () =>
      send({ status: 500, contentType: 'text/plain', body: 'cannot create the response\n' }),
    );
  }

  async #listen({ listen }: Address): Promise<Server> {
    // A killed process of this container may have left the socket: each pod has its own folder.
    if (listen.path !== undefined) await rm(listen.path, { force: true });
    const server = createServer((request, response) => this.#onRequest(request, response));
    limitConnections(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(listen, resolve);
    });
    this.#servers.push(server);
    if (this.#closed) server.close();
    return server;
  }

  async #listenWhenFree(address: Address): Promise<void> {
    const { log, retryMs = 500 } = this.#options;
    let isWarned = false;
    while (!this.#closed) {
      try {
        await this.#listen(address);
        log.info({ address: address.text }, 'health listens');
        return;
      } catch (error) {
        if (errorCodeOf(error) !== 'EADDRINUSE') throw error;
        if (!isWarned)
          log.warn(
            { address: address.text },
            'the address is in use; health waits until it is free',
          );
        isWarned = true;
        await new Promise((resolve) => setTimeout(resolve, retryMs).unref());
      }
    }
  }
}

/** Concurrent calls share one promise. */
function coalesce<T>(create: () => Promise<T>): () => Promise<T> {
  let pending: Promise<T> | undefined;
  return () => (pending ??= create().finally(() => (pending = undefined)));
}

/**
 * Above the limit, closes the oldest connection of the client with the most connections. If the
 * newest one were refused, or the oldest one of all closed, one pod could lock out the kubelet. All
 * connections over a unix socket count as one client.
 */
function limitConnections(server: Server): void {
  const socketsByClient = new Map<string, Set<Socket>>();
  let count = 0;
  const remove = (client: string, socket: Socket): void => {
    const sockets = socketsByClient.get(client);
    if (sockets?.delete(socket) !== true) return;
    count -= 1;
    if (sockets.size === 0) socketsByClient.delete(client);
  };
  server.on('connection', (socket) => {
    const client = socket.remoteAddress ?? '';
    socketsByClient.set(client, (socketsByClient.get(client) ?? new Set()).add(socket));
    count += 1;
    socket.once('close', () => remove(client, socket));
    if (count <= maxConnections) return;
    const [busiest] = [...socketsByClient].sort(([, a], [, b]) => b.size - a.size);
    const [oldest] = busiest?.[1] ?? [];
    if (busiest === undefined || oldest === undefined) return;
    remove(busiest[0], oldest);
    oldest.destroy();
  });
}

function cannotListen({ text }: Address, cause: unknown): SecretError {
  const reason = errorCodeOf(cause) ?? 'unknown reason';
  const message = `cannot listen on ${text} for health, readiness and metrics: ${reason}`;
  return new SecretError('NOT_CONFIGURED', message, {
    hint: 'choose another --health-address',
    cause,
  });
}

/** `unix:/path`, or `host:port` with an IPv6 host in brackets. */
function parseAddress(text: string): Address {
  const [, path] = /^unix:(\/.+)$/.exec(text) ?? [];
  if (path !== undefined) return { text, listen: { path } };
  const parts = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(text);
  if (parts === null || Number(parts[3]) > 65_535) {
    throw new SecretError(
      'NOT_CONFIGURED',
      `${text} is not an address of the form host:port or unix:/path`,
      {
        hint: 'give one as --health-address, such as 0.0.0.0:8095 or [::]:8095',
      },
    );
  }
  return { text, listen: { host: parts[1] ?? parts[2] ?? '', port: Number(parts[3]) } };
}
