import { createServer, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** A container of a {@link FakeEngine}. */
export type FakeContainer = {
  readonly id: string;
  readonly volumes: readonly string[];
  state: string;
  startedAt?: string;
  error?: string;
  readonly restartPolicy?: string;
  /** What a start does. Throws: the start fails with that message. */
  readonly onStart?: () => Promise<void>;
  /** The engine does not answer questions about the container before. */
  settled?: Promise<void>;
};

/** The few calls of an engine's API that the agent uses, as 20.10 answers them, on a socket. */
export class FakeEngine {
  readonly socketPath: string;
  readonly containers: FakeContainer[] = [];
  /** The calls of one container, in their order: `start ID`. */
  readonly starts: string[] = [];
  /** Those of the API, in their order. */
  readonly paths: string[] = [];
  version: object = { ApiVersion: '1.41', MinAPIVersion: '1.12' };
  #server: Server | undefined;
  readonly #connections = new Set<Socket>();
  readonly #events = new Set<ServerResponse>();

  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  async start(): Promise<void> {
    const server = createServer((request, response) => {
      void this.#respond(`${request.method} ${request.url}`, response);
    });
    server.on('connection', (connection) => {
      this.#connections.add(connection);
      connection.once('close', () => this.#connections.delete(connection));
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.socketPath, resolve));
  }

  /** Ends as an engine that is killed. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const connection of this.#connections) connection.destroy();
    await new Promise((resolve) => (server === undefined ? resolve(0) : server.close(resolve)));
  }

  /** Sends an event of a container. */
  report(action: string): void {
    for (const response of this.#events)
      response.write(`${JSON.stringify({ Type: 'container', Action: action })}\n`);
  }

  add(container: Partial<FakeContainer> & { readonly id: string }): FakeContainer {
    const made = { volumes: ['dso_shop.app'], state: 'exited', ...container };
    this.containers.push(made);
    return made;
  }

  async #respond(line: string, response: ServerResponse): Promise<void> {
    this.paths.push(line);
    const send = (status: number, body?: object): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(body === undefined ? undefined : JSON.stringify(body));
    };
    if (line === 'GET /version') return send(200, this.version);
    if (/^GET \/v[\d.]+\/events\?/.test(line)) {
      response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
      this.#events.add(response);
      response.once('close', () => this.#events.delete(response));
      return;
    }
    if (/^GET \/v[\d.]+\/containers\/json\?all=1$/.test(line))
      return send(
        200,
        this.containers.map(({ id, state, volumes }) => ({
          ...{ Id: id, Names: [`/${id}`], State: state },
          Mounts: volumes.map((Name) => ({ Type: 'volume', Name, Driver: 'dso' })),
        })),
      );
    const [, id, action] = /\/containers\/([^/]+)\/(json|start)$/.exec(line) ?? [];
    const container = this.containers.find((each) => each.id === id);
    if (container === undefined) return send(404, { message: `No such container: ${id}` });
    if (action === 'start') {
      this.starts.push(container.id);
      try {
        await container.onStart?.();
      } catch (error) {
        container.error = (error as Error).message;
        return send(500, { message: container.error });
      }
      Object.assign(container, { state: 'running', error: '' });
      return send(204);
    }
    await container.settled;
    const { state, error = '', startedAt = '2026-01-01T00:00:00Z' } = container;
    send(200, {
      State: {
        Running: ['running', 'paused', 'restarting'].includes(state),
        ...{ StartedAt: startedAt, Error: error, ExitCode: 128 },
      },
      HostConfig: { RestartPolicy: { Name: container.restartPolicy ?? 'always' } },
    });
  }
}
