import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
  connect,
  constants,
} from 'node:http2';
import { createConnection } from 'node:net';
import {
  Body,
  type StatusName,
  decodeStatusText,
  frameMessage,
  statusNameOf,
  formatTimeout,
} from './wire.ts';

/** The result of a call: a response, or the status with which it failed. */
export type UnaryResult<T> =
  | { readonly code: 'OK'; readonly response: T }
  | { readonly code: Exclude<StatusName, 'OK'>; readonly message: string };

/** Options of one call. */
export type CallOptions = {
  /** The deadline in milliseconds from now. Default: the call has none. */
  readonly timeoutMs?: number | undefined;
  /** Cancels the call. */
  readonly signal?: AbortSignal | undefined;
};

/** Options of a {@link UnaryClient}. */
export type UnaryClientOptions = {
  readonly socketPath: string;
  /** The value of `:authority`. */
  readonly authority: string;
  /** The largest response in bytes that the client accepts. */
  readonly maxMessageBytes: number;
};

/** Node fires a timer of more milliseconds at once. */
const maxTimerMs = 2 ** 31 - 1;
const cancelled = { code: 'CANCELLED', message: 'the caller cancelled the call' } as const;
const deadlineExceeded = {
  code: 'DEADLINE_EXCEEDED',
  message: 'no response came before the deadline',
} as const;

/**
 * A client for unary gRPC calls to a unix socket, on Node's own HTTP/2. It uses one connection,
 * opens it for the first call and replaces it when it has ended. It never retries a call.
 */
export class UnaryClient {
  readonly #options: UnaryClientOptions;
  #current: ClientHttp2Session | undefined;

  constructor(options: UnaryClientOptions) {
    this.#options = options;
  }

  /** Calls the method at `path`. Never rejects: a failure is a result with a code. */
  call(
    path: string,
    message: Uint8Array,
    { timeoutMs, signal }: CallOptions,
  ): Promise<UnaryResult<Buffer>> {
    if (signal?.aborted === true) return Promise.resolve(cancelled);
    const session = this.#session();
    const stream = session.request({
      ':method': 'POST',
      ':authority': this.#options.authority,
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...(timeoutMs === undefined ? {} : { 'grpc-timeout': formatTimeout(timeoutMs) }),
    });
    stream.end(frameMessage(message));
    return new Promise((resolve) => {
      const finish = (result: UnaryResult<Buffer>): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', cancel);
        resolve(result);
        if (!stream.closed) stream.close(constants.NGHTTP2_CANCEL);
      };
      const cancel = (): void => finish(cancelled);
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => finish(deadlineExceeded), Math.min(timeoutMs, maxTimerMs));
      signal?.addEventListener('abort', cancel, { once: true });
      readStream(session, stream, this.#options.maxMessageBytes, finish);
    });
  }

  /** Closes the connection after the calls in flight. */
  close(): void {
    this.#current?.close();
  }

  #session(): ClientHttp2Session {
    const current = this.#current;
    if (current !== undefined && !current.closed && !current.destroyed) return current;
    const opened = connect('http://localhost', {
      createConnection: () => createConnection(this.#options.socketPath),
      // In megabytes. Above the default of 10, outgoing requests included, Node refuses responses.
      maxSessionMemory: 4_096,
    });
    // Each call gets the error from its own stream.
    opened.on('error', () => undefined);
    this.#current = opened;
    return opened;
  }
}

/** Reads a stream until its result is known. */
function readStream(
  session: ClientHttp2Session,
  stream: ClientHttp2Stream,
  maxMessageBytes: number,
  finish: (result: UnaryResult<Buffer>) => void,
): void {
  const body = new Body(maxMessageBytes);
  let headers: IncomingHttpHeaders = {};
  let connectionError = 'the connection ended before a response came';
  stream.on('response', (received: IncomingHttpHeaders) => (headers = received));
  stream.on('trailers', (received: IncomingHttpHeaders) => (headers = { ...headers, ...received }));
  stream.on('error', (error: Error & { readonly cause?: { readonly message?: string } }) => {
    // If no connection could be opened, the stream's error has the reason as its cause.
    connectionError = error.cause?.message ?? error.message;
  });
  stream.on('data', (part: Buffer) => {
    if (body.add(part)) return;
    finish({
      code: 'RESOURCE_EXHAUSTED',
      message: `the response has more than ${maxMessageBytes} bytes`,
    });
  });
  stream.on('close', () => {
    const httpStatus = headers[':status'] ?? 200;
    if (headers['grpc-status'] !== undefined) finish(readResult(headers, body));
    else if (httpStatus !== 200)
      finish({ code: 'UNKNOWN', message: `the response is HTTP ${String(httpStatus)}, not gRPC` });
    else if (session.destroyed || stream.rstCode === constants.NGHTTP2_REFUSED_STREAM)
      finish({ code: 'UNAVAILABLE', message: connectionError });
    else
      finish({
        code: 'INTERNAL',
        message: `the stream ended without a status: ${connectionError}`,
      });
  });
}

function readResult(headers: IncomingHttpHeaders, body: Body): UnaryResult<Buffer> {
  const { 'grpc-status': status, 'grpc-message': text } = headers;
  const code = statusNameOf(String(status)) ?? 'UNKNOWN';
  if (code !== 'OK')
    return { code, message: typeof text === 'string' ? decodeStatusText(text) : '' };
  const message = body.read();
  if (typeof message === 'string')
    return { code: 'INTERNAL', message: `the response has ${message}` };
  return { code, response: message };
}
