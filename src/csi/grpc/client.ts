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
  writeTimeout,
} from './wire.ts';

/** What came of a call: an answer, or the status it failed with. */
export type UnaryResult<T> =
  | { readonly code: 'OK'; readonly response: T }
  | { readonly code: Exclude<StatusName, 'OK'>; readonly message: string };

/** The circumstances of one call. */
export type CallOptions = {
  /** Milliseconds until the caller gives up; none: no deadline is sent. */
  readonly timeoutMs?: number | undefined;
  /** Cancels the call. */
  readonly signal?: AbortSignal | undefined;
};

/** Makes unary calls at a unix socket: see {@link createUnaryClient}. */
export type UnaryClient = {
  /** Calls the method at `path`. Never rejects: a failure is an answer with a code. */
  call(path: string, message: Uint8Array, options: CallOptions): Promise<UnaryResult<Buffer>>;
  /** Ends the connection when the calls under way have. */
  close(): void;
};

/** What {@link createUnaryClient} needs. */
export type UnaryClientOptions = {
  readonly socketPath: string;
  /** What `:authority` says. */
  readonly authority: string;
  /** The longest answer in bytes that is taken. */
  readonly maxMessageBytes: number;
};

/** Unary gRPC on Node's own HTTP/2, over one connection that is made when first needed, and again when it is gone. Nothing is tried twice. */
export function createUnaryClient({
  socketPath,
  authority,
  maxMessageBytes,
}: UnaryClientOptions): UnaryClient {
  let current: ClientHttp2Session | undefined;

  function session(): ClientHttp2Session {
    if (current !== undefined && !current.closed && !current.destroyed) return current;
    const opened = connect('http://localhost', {
      createConnection: () => createConnection(socketPath),
      // In megabytes. Beyond 10 of them, of requests on their way out as well, Node would refuse answers.
      maxSessionMemory: 4_096,
    });
    // Each call hears of it by its own stream.
    opened.on('error', () => undefined);
    current = opened;
    return opened;
  }

  return {
    call(path, message, { timeoutMs, signal }) {
      if (signal?.aborted === true) return Promise.resolve(cancelled);
      const current = session();
      const stream = current.request({
        ':method': 'POST',
        ':authority': authority,
        ':path': path,
        'content-type': 'application/grpc',
        te: 'trailers',
        ...(timeoutMs === undefined ? {} : { 'grpc-timeout': writeTimeout(timeoutMs) }),
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
        collect(current, stream, maxMessageBytes, finish);
      });
    },
    close() {
      current?.close();
    },
  };
}

/** Milliseconds; a longer one would fire at once. */
const maxTimerMs = 2 ** 31 - 1;
const cancelled = { code: 'CANCELLED', message: 'the caller gave the call up' } as const;
const deadlineExceeded = { code: 'DEADLINE_EXCEEDED', message: 'no answer came in time' } as const;

/** Reads a stream to its end, or as far as is needed to tell. */
function collect(
  session: ClientHttp2Session,
  stream: ClientHttp2Stream,
  maxMessageBytes: number,
  finish: (answer: UnaryResult<Buffer>) => void,
): void {
  const body = new Body(maxMessageBytes);
  let headers: IncomingHttpHeaders = {};
  let connectionError = 'the connection ended before an answer came';
  stream.on('response', (came: IncomingHttpHeaders) => (headers = came));
  stream.on('trailers', (came: IncomingHttpHeaders) => (headers = { ...headers, ...came }));
  stream.on('error', (error: Error & { readonly cause?: { readonly message?: string } }) => {
    // Where no connection came about, the error is the stream's, and why is its cause.
    connectionError = error.cause?.message ?? error.message;
  });
  stream.on('data', (part: Buffer) => {
    if (body.add(part)) return;
    finish({
      code: 'RESOURCE_EXHAUSTED',
      message: `the answer has more than ${maxMessageBytes} bytes`,
    });
  });
  stream.on('close', () => {
    const http = headers[':status'] ?? 200;
    if (headers['grpc-status'] !== undefined) finish(readResult(headers, body));
    else if (http !== 200)
      finish({ code: 'UNKNOWN', message: `the answer is no gRPC but HTTP status ${String(http)}` });
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
    return { code: 'INTERNAL', message: `the answer came ${message}` };
  return { code, response: message };
}
