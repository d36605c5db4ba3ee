import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { SecretError } from '../errors/secret-error.ts';

/** The server of `/healthz`, `/readyz` and `/metrics`: see {@link createHealth}. */
export type Health = {
  /** Resolves to the port. @throws SecretError NOT_CONFIGURED where it cannot listen */
  start(): Promise<number>;
  close(): Promise<void>;
};

/** What {@link createHealth} needs. */
export type HealthOptions = {
  /** `host:port`. */
  readonly address: string;
  /** What is wrong with the sockets, as a driver finds them. */
  readonly probe: () => Promise<readonly string[]>;
  /** What keeps this process from being ready. */
  readonly problems: () => readonly string[];
  readonly registry: Registry;
};

/**
 * Serves over HTTP
 *  - `/healthz`: 200 `ok` where this process answers at every socket's path, else 503 and a reason a line
 *  - `/readyz`: 200 or 503, `{"ready": boolean, "reasons": [...]}`: whether every path is ours and listening
 *  - `/metrics`: Prometheus
 */
export function createHealth({ address, probe, problems, registry }: HealthOptions): Health {
  let probing: Promise<readonly string[]> | undefined;

  /** However many ask at a time, the sockets are asked once. */
  function probeOnce(): Promise<readonly string[]> {
    probing ??= probe().finally(() => (probing = undefined));
    return probing;
  }

  async function answer(path: string, response: ServerResponse): Promise<void> {
    if (path === '/healthz') {
      const reasons = await probeOnce();
      send(response, reasons.length === 0 ? 200 : 503, 'text/plain', `${reasons.join('\n') || 'ok'}\n`);
    } else if (path === '/readyz') {
      const reasons = problems();
      const ready = reasons.length === 0;
      send(response, ready ? 200 : 503, 'application/json', `${JSON.stringify({ ready, reasons })}\n`);
    } else if (path === '/metrics') {
      send(response, 200, registry.contentType, await registry.metrics());
    } else {
      send(response, 404, 'text/plain', 'there are /healthz, /readyz and /metrics\n');
    }
  }

  const server = createServer((request, response) => {
    answer(request.url?.split('?', 1)[0] ?? '', response).catch(() => {
      send(response, 500, 'text/plain', 'this answer could not be made\n');
    });
  });

  return {
    start() {
      const { host, port } = parseAddress(address);
      return new Promise((resolve, reject) => {
        server.once('error', (error) => {
          const code = 'code' in error ? String(error.code) : error.name;
          const message = `cannot listen on ${address} for health, readiness and metrics: ${code}`;
          reject(
            new SecretError('NOT_CONFIGURED', message, {
              hint: 'choose another --health-address',
              cause: error,
            }),
          );
        });
        server.listen(port, host, () => resolve((server.address() as AddressInfo).port));
      });
    },
    async close() {
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      });
    },
  };
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type }).end(body);
}

/** `host:port`; an IPv6 host in brackets. */
function parseAddress(address: string): { host: string; port: number } {
  const parts = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(address);
  if (parts === null || Number(parts[3]) > 65_535) {
    throw new SecretError('NOT_CONFIGURED', `${address} is no address of the form host:port`, {
      hint: 'give one as --health-address, such as 0.0.0.0:8095 or [::]:8095',
    });
  }
  return { host: parts[1] ?? parts[2] ?? '', port: Number(parts[3]) };
}
