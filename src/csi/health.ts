import { rm } from 'node:fs/promises';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { ListenOptions, Socket } from 'node:net';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { SecretError } from '../core/errors.ts';

/** At an address. Every pod of the cluster may reach it, and a kubelet and some scrapers need a handful. */
const maxConnections = 50;

/** The server of `/healthz`, `/readyz` and `/metrics`: see {@link createHealth}. */
export type Health = {
  /** Resolves to the first address's port, if it has one. @throws SecretError NOT_CONFIGURED where it cannot listen */
  start(): Promise<number | undefined>;
  close(): Promise<void>;
};

/** What {@link createHealth} needs. */
export type HealthOptions = {
  /**
   * `host:port` or `unix:/path`, several with commas. The first must be free. Others are waited for while somebody has them: where pods
   * share their node's network, two of them have one port between them while one replaces the other.
   */
  readonly address: string;
  /** What is wrong with the sockets, as a driver finds them. */
  readonly probe: () => Promise<readonly string[]>;
  /** What keeps this process from being ready. */
  readonly problems: () => readonly string[];
  readonly registry: Registry;
  readonly log: Logger;
  /** Milliseconds between two tries at an address that somebody else has; default 500. */
  readonly retryMs?: number;
};

/** An address, as it was written and as Node takes it. */
type Address = { readonly text: string; readonly listen: ListenOptions };

/** Its status, its type and its body. */
type HealthResponse = readonly [number, string, string];

/**
 * Serves over HTTP
 *  - `/healthz`: 200 `ok` where this process answers at every socket's path, else 503 and a reason a line
 *  - `/readyz`: 200 or 503, `{"ready": boolean, "reasons": [...]}`: whether every path is ours and listening
 *  - `/metrics`: Prometheus
 */
export function createHealth(options: HealthOptions): Health {
  const { address, probe, problems, registry, log, retryMs = 500 } = options;
  let closed = false;
  const servers: Server[] = [];

  // However many ask at a time, it is found out once.
  const probeOnce = coalesce(probe);
  const metricsOnce = coalesce(() => registry.metrics());

  async function createResponse(path: string): Promise<HealthResponse> {
    if (path === '/healthz') {
      const reasons = await probeOnce();
      return [reasons.length === 0 ? 200 : 503, 'text/plain', `${reasons.join('\n') || 'ok'}\n`];
    }
    if (path === '/readyz') {
      const reasons = problems();
      const ready = reasons.length === 0;
      return [ready ? 200 : 503, 'application/json', `${JSON.stringify({ ready, reasons })}\n`];
    }
    if (path === '/metrics') return [200, registry.contentType, await metricsOnce()];
    return [404, 'text/plain', 'there are /healthz, /readyz and /metrics\n'];
  }

  const busySockets = new WeakSet<Socket>();
  const onRequest: RequestListener = ({ url, socket }, response) => {
    // Nobody whom we serve asks on before he is answered, and thousands of such questions fit into what is read at once.
    if (busySockets.has(socket)) {
      socket.destroy();
      return;
    }
    busySockets.add(socket);
    let openResponse: ServerResponse | undefined = response;
    response.once('close', function (this: ServerResponse) {
      busySockets.delete(this.req.socket);
      // By it, an answer in the making would keep all that had been asked.
      openResponse = undefined;
    });
    const send = ([status, type, body]: HealthResponse): void =>
      void openResponse?.writeHead(status, { 'content-type': type }).end(body);
    createResponse(url?.split('?', 1)[0] ?? '').then(send, () =>
      send([500, 'text/plain', 'this answer could not be made\n']),
    );
  };

  async function open({ listen }: Address): Promise<Server> {
    // What lies there was left by a process of this container that was killed: each pod has a directory of its own.
    if (listen.path !== undefined) await rm(listen.path, { force: true });
    const server = createServer(onRequest);
    boundConnections(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(listen, resolve);
    });
    servers.push(server);
    if (closed) server.close();
    return server;
  }

  async function openWhenFree(address: Address): Promise<void> {
    let isWarned = false;
    while (!closed) {
      try {
        await open(address);
        log.info({ address: address.text }, 'health listens');
        return;
      } catch (error) {
        if (codeOf(error) !== 'EADDRINUSE') throw error;
        if (!isWarned)
          log.warn({ address: address.text }, 'somebody else listens there; health waits for it');
        isWarned = true;
        await new Promise((resolve) => setTimeout(resolve, retryMs).unref());
      }
    }
  }

  return {
    async start() {
      const [first, ...others] = address.split(',').map(parseAddress);
      if (first === undefined) return undefined;
      const server = await open(first).catch((error: unknown) => {
        throw cannotListen(first, error);
      });
      for (const other of others)
        openWhenFree(other).catch((error: unknown) => {
          log.error({ address: other.text, code: codeOf(error) }, 'health cannot listen there');
        });
      const bound = server.address();
      return typeof bound === 'object' ? bound?.port : undefined;
    },
    async close() {
      closed = true;
      const ended = servers.map((server) => new Promise((resolve) => server.close(resolve)));
      for (const server of servers) server.closeAllConnections();
      await Promise.all(ended);
    },
  };
}

/** Whoever asks while an answer is being made gets that one. */
function coalesce<T>(make: () => Promise<T>): () => Promise<T> {
  let making: Promise<T> | undefined;
  return () => (making ??= make().finally(() => (making = undefined)));
}

/**
 * When there are too many, whoever has most loses his oldest: were the newest refused, or the oldest of all let go, one pod would keep the kubelet
 * out. Those who come by a unix socket are one.
 */
function boundConnections(server: Server): void {
  const socketsByClient = new Map<string, Set<Socket>>();
  let count = 0;
  const remove = (client: string, socket: Socket): void => {
    const sockets = socketsByClient.get(client);
    if (sockets?.delete(socket) !== true) return;
    count -= 1;
    if (sockets.size === 0) socketsByClient.delete(client);
  };
  server.on('connection', (socket) => {
    const from = socket.remoteAddress ?? '';
    socketsByClient.set(from, (socketsByClient.get(from) ?? new Set()).add(socket));
    count += 1;
    socket.once('close', () => remove(from, socket));
    if (count <= maxConnections) return;
    const [busiest] = [...socketsByClient].sort(([, a], [, b]) => b.size - a.size);
    const [oldest] = busiest?.[1] ?? [];
    if (busiest === undefined || oldest === undefined) return;
    remove(busiest[0], oldest);
    oldest.destroy();
  });
}

function codeOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error
    ? String(error.code)
    : 'unknown reason';
}

function cannotListen({ text }: Address, cause: unknown): SecretError {
  const message = `cannot listen on ${text} for health, readiness and metrics: ${codeOf(cause)}`;
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
      `${text} is no address of the form host:port or unix:/path`,
      {
        hint: 'give one as --health-address, such as 0.0.0.0:8095 or [::]:8095',
      },
    );
  }
  return { text, listen: { host: parts[1] ?? parts[2] ?? '', port: Number(parts[3]) } };
}
