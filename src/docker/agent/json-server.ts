import { mkdir } from 'node:fs/promises';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Logger } from 'pino';
import { SecretError, errorCodeOf, toSecretError } from '../../core/errors.ts';
import {
  type BoundSocket,
  bindSocket,
  checkSocketPath,
  deadSocketAt,
  ownerOf,
  removeDeadSocket,
  unbindSocket,
} from '../../sockets/socket-file.ts';

/** A request with its body. */
export type JsonRequest = {
  readonly method: string;
  /** With its query; the host is a placeholder. */
  readonly url: URL;
  /** Undefined: the request has no body. */
  readonly json: unknown;
  /** Aborts when the caller leaves, with a SecretError. */
  readonly signal: AbortSignal;
};

/** A status and what becomes the JSON body; or lines of JSON, which are sent as they come. */
export type JsonResponse =
  | { readonly status: number; readonly json: unknown }
  | { readonly status: number; readonly lines: AsyncIterable<string> };

/** Responds to a request. */
export type Handle = (request: JsonRequest) => Promise<JsonResponse>;

/** Options of a {@link JsonServer}. */
export type JsonServerOptions = {
  readonly path: string;
  /** The setting that has the path. */
  readonly flag: string;
  readonly mode: number;
  readonly gid?: number | undefined;
  readonly contentType: string;
  readonly maxBodyBytes: number;
  readonly handle: Handle;
  /** The response to a failure of `handle`, or to a request that cannot be read. */
  readonly onError: (error: SecretError) => JsonResponse;
  readonly log: Logger;
};

/** An engine keeps a few connections open. The server that listens counts them. */
const maxConnections = 1_000;

/** Serves JSON over HTTP on a unix socket. */
export class JsonServer {
  readonly #options: JsonServerOptions;
  readonly #server: Server;
  /** `closeAllConnections` knows only those of a server that listens itself. */
  readonly #connections = new Set<Socket>();
  #socket: BoundSocket | undefined;

  constructor(options: JsonServerOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => void this.#respond(request, response));
    // Go's client would see a connection that closes while it sends as a failure.
    this.#server.keepAliveTimeout = 0;
  }

  /**
   * Listens. Takes over the socket of a dead agent.
   * @throws SecretError NOT_CONFIGURED if another process listens there, or the path cannot be used
   */
  async start(): Promise<void> {
    const { path, flag, mode, gid } = this.#options;
    checkSocketPath(path, flag);
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o755 });
      for (let attempt = 0; attempt < 3 && this.#socket === undefined; attempt++) {
        this.#socket = await bindSocket(path, {
          ...{ replace: false, mode, gid },
          onConnection: (connection) => this.#accept(connection),
        });
        const dead = this.#socket === undefined ? await deadSocketAt(path) : undefined;
        if (dead !== undefined) removeDeadSocket(path, dead);
        else break;
      }
    } catch (cause) {
      const problem = errorCodeOf(cause) ?? 'unknown error';
      throw new SecretError('NOT_CONFIGURED', `cannot listen on ${path}: ${problem}`, {
        ...{ hint: `run the agent as root, or choose another ${flag}`, cause },
      });
    }
    if (this.#socket === undefined)
      throw new SecretError(
        'NOT_CONFIGURED',
        `${path} is in use: another agent answers there, or it is not a socket`,
        { hint: `stop the other agent first, or choose another ${flag}` },
      );
    this.#socket.server.maxConnections = maxConnections;
    this.#socket.server.on('error', (err) => this.#options.log.error({ err, path }, 'socket'));
  }

  /** Why a client cannot reach this server; undefined if it can. */
  get problem(): string | undefined {
    const { path } = this.#options;
    const owner = this.#socket === undefined ? 'none' : ownerOf(this.#socket);
    return owner === 'ours' ? undefined : `${path} does not lead to this agent`;
  }

  /** Removes the socket's path. Open connections stay. */
  unbind(): void {
    if (this.#socket !== undefined) unbindSocket(this.#socket);
    this.#socket = undefined;
  }

  /** Closes the connections. */
  close(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  #accept(connection: Socket): void {
    this.#connections.add(connection);
    connection.once('close', () => this.#connections.delete(connection));
    this.#server.emit('connection', connection);
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { handle, onError, contentType, log } = this.#options;
    const controller = new AbortController();
    response.once('close', () => {
      if (!response.writableFinished)
        controller.abort(new SecretError('CANCELLED', 'the caller has left'));
    });
    const result = await this.#read(request)
      .then((json) =>
        handle({
          method: request.method ?? '',
          url: new URL(request.url ?? '/', 'http://agent'),
          json,
          signal: controller.signal,
        }),
      )
      .catch((thrown: unknown) => {
        const error = toSecretError(thrown);
        if (error.code === 'INTERNAL')
          log.error({ path: request.url?.slice(0, 200), err: error.cause }, error.message);
        return onError(error);
      });
    if (response.destroyed) return;
    if ('lines' in result) return sendLines(response, result);
    response
      .writeHead(result.status, { 'content-type': contentType })
      .end(`${JSON.stringify(result.json)}\n`);
  }

  async #read(request: IncomingMessage): Promise<unknown> {
    const { maxBodyBytes } = this.#options;
    const pieces: Buffer[] = [];
    let bytes = 0;
    for await (const piece of request as AsyncIterable<Buffer>) {
      bytes += piece.length;
      if (bytes > maxBodyBytes)
        throw new SecretError('INVALID_REQUEST', `the request has more than ${maxBodyBytes} bytes`);
      pieces.push(piece);
    }
    if (bytes === 0) return undefined;
    try {
      return JSON.parse(Buffer.concat(pieces).toString()) as unknown;
    } catch {
      throw new SecretError('INVALID_REQUEST', 'the request is not JSON');
    }
  }
}

/** A line is asked for when the caller has taken those before it. */
async function sendLines(
  response: ServerResponse,
  { status, lines }: Extract<JsonResponse, { readonly lines: unknown }>,
): Promise<void> {
  response.writeHead(status, { 'content-type': 'application/x-ndjson' }).flushHeaders();
  // The caller may leave, or the server may close.
  await pipeline(Readable.from(lines), response).catch(() => undefined);
}
