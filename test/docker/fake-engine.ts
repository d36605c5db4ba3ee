import { createServer, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { text as readAll } from 'node:stream/consumers';

/** A container of a {@link FakeEngine}. */
export type FakeContainer = {
  readonly id: string;
  readonly volumes: readonly string[];
  state: string;
  startedAt?: string;
  error?: string;
  readonly restartPolicy?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly networkMode?: string;
  health?: string;
  exitCode?: number;
  /** More of what `inspect` shows. */
  readonly details?: object;
  /** What a start does. Throws: the start fails with that message. */
  readonly onStart?: () => Promise<void>;
  /** What a stop does. */
  readonly onStop?: () => Promise<void>;
  /** The engine does not answer questions about the container before. */
  settled?: Promise<void>;
};

/** The body of a request for a new container. */
export type CreateBody = {
  readonly Image: string;
  readonly Labels: Readonly<Record<string, string>>;
};

/** The few calls of an engine's API that the agent uses, as 20.10 answers them, on a socket. */
export class FakeEngine {
  readonly socketPath: string;
  readonly containers: FakeContainer[] = [];
  /** The containers that were started, in their order. */
  readonly starts: string[] = [];
  /** The other calls that change containers, in their order: `restart ID t=3`. */
  readonly changes: string[] = [];
  /** What a new container of this name is. */
  onCreate: (name: string, body: CreateBody) => Partial<FakeContainer> = () => ({});
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
      void readAll(request).then((body) =>
        this.#respond(`${request.method} ${request.url}`, response, body),
      );
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
  report(action: string, id = 'app', labels: Readonly<Record<string, string>> = {}): void {
    const Actor = { ID: id, Attributes: { ...labels, name: id } };
    this.reportRaw(`${JSON.stringify({ Type: 'container', Action: action, Actor })}\n`);
  }

  /** Sends a piece of the events. */
  reportRaw(text: string): void {
    for (const response of this.#events) response.write(text);
  }

  add(container: Partial<FakeContainer> & { readonly id: string }): FakeContainer {
    const made = { volumes: ['dso_shop.app'], state: 'exited', ...container };
    this.containers.push(made);
    return made;
  }

  async #respond(line: string, response: ServerResponse, body: string): Promise<void> {
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
        this.containers.map(({ id, state, volumes, labels = {}, networkMode = 'shop' }) => ({
          ...{ Id: id, Names: [`/${id}`], State: state, Labels: labels },
          HostConfig: { NetworkMode: networkMode },
          Mounts: volumes.map((Name) => ({ Type: 'volume', Name, Driver: 'dso' })),
        })),
      );
    const [, image] = /\/images\/([^/]+)\/json$/.exec(line) ?? [];
    if (image !== undefined) return send(200, { Id: `sha256:${decodeURIComponent(image)}` });
    const [, network] = /^POST \/v[\d.]+\/networks\/([^/]+)\/connect$/.exec(line) ?? [];
    if (network !== undefined) {
      this.changes.push(`connect ${network} ${body}`);
      return send(200, {});
    }
    const [, name] = /^POST \/v[\d.]+\/containers\/create\?name=(.+)$/.exec(line) ?? [];
    if (name !== undefined) {
      const made = JSON.parse(body) as CreateBody;
      this.changes.push(`create ${name}`);
      this.add({ id: name, state: 'created', labels: made.Labels, ...this.onCreate(name, made) });
      return send(201, { Id: name });
    }
    const [, id, action, query] =
      /\/containers\/([^/?]+)(?:\/(json|start|restart|stop|kill))?(?:\?(.*))?$/.exec(line) ?? [];
    const container = this.containers.find((each) => each.id === id);
    if (container === undefined) return send(404, { message: `No such container: ${id}` });
    if (action !== 'json' && action !== 'start') {
      const words = [action ?? 'remove', container.id, ...(query ? [query] : [])];
      this.changes.push(words.join(' '));
      if (action === 'kill') return send(204);
      if (container.state === 'running') await container.onStop?.();
      container.state = 'exited';
      if (action === undefined) this.containers.splice(this.containers.indexOf(container), 1);
      if (action !== 'restart') return send(204);
    }
    if (action !== 'json') {
      if (action === 'start') this.starts.push(container.id);
      try {
        await container.onStart?.();
      } catch (error) {
        container.error = (error as Error).message;
        return send(500, { message: container.error });
      }
      Object.assign(container, {
        ...{ state: 'running', error: '', startedAt: new Date().toISOString() },
      });
      return send(204);
    }
    await container.settled;
    const { state, error = '', startedAt = '2026-01-01T00:00:00Z', health } = container;
    const { exitCode = 128, labels = {}, details } = container;
    send(200, {
      Id: container.id,
      Name: `/${container.id}`,
      Image: 'sha256:image',
      Config: { Image: 'image', Labels: labels },
      ...details,
      State: {
        Running: ['running', 'paused', 'restarting'].includes(state),
        Restarting: state === 'restarting',
        ...{ StartedAt: startedAt, Error: error, ExitCode: exitCode },
        ...(health !== undefined && { Health: { Status: health } }),
      },
      HostConfig: { RestartPolicy: { Name: container.restartPolicy ?? 'always' } },
    });
  }
}
