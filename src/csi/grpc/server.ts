import {
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  constants,
  performServerHandshake,
} from 'node:http2';
import type { Duplex } from 'node:stream';
import {
  Body,
  type StatusName,
  encodeStatusText,
  messageHeaderBytes,
  parseTimeout,
  statusCodes,
} from './wire.ts';

/** The status with which a call fails. */
export type FailureStatus = { readonly status: StatusName; readonly text: string };

/** One call, from its message to its response. */
export type UnaryCall = {
  /** The message without its five-byte prefix. */
  readonly message: Buffer;
  /** The client's deadline in milliseconds since 1970; Infinity if it sent none. */
  readonly deadline: number;
  /**
   * Sends a message with its prefix. Only the first `respond` or `fail` of a call has an effect,
   * and none has one after the client has cancelled.
   */
  respond(framed: Buffer): void;
  fail(status: FailureStatus): void;
  /**
   * Calls `listener` once, when the stream has closed: after the last byte of the response, or when
   * the client has cancelled. The method must set it before it returns.
   */
  onClose(listener: () => void): void;
};

/** Options of a {@link UnaryServer}. */
export type UnaryServerOptions = {
  /** The handlers by path, such as `/package.Service/Method`. */
  readonly methods: ReadonlyMap<string, (call: UnaryCall) => void>;
  /** The largest request in bytes that the server accepts. */
  readonly maxMessageBytes: number;
  /**
   * The status for an invalid request: one with no message, an incomplete, compressed or oversized
   * one, several, or an invalid `grpc-timeout`.
   */
  readonly toInvalidCallStatus: (problem: string) => FailureStatus;
  /** Bounds the memory of large requests. Default: it is not bounded. */
  readonly requestMemory?: RequestMemory;
};

/** Memory for requests, from their first byte until their stream closes. */
export type RequestMemory = {
  /** The limiter for a request of this size. */
  readonly limiterFor: (bytes: number) => {
    tryAcquire(bytes: number): (() => void) | undefined;
    acquire(bytes: number, signal: AbortSignal): Promise<() => void>;
  };
  /** Gets each call that has to wait. The returned function runs when the wait is over. */
  readonly onWait: (call: Pick<UnaryCall, 'deadline' | 'fail'>) => () => void;
};

const sessionOptions = {
  // All pods of a node at once. A stream above the limit would wait in the driver, where this
  // server's deadline does not apply.
  settings: { maxConcurrentStreams: 10_000, enablePush: false, initialWindowSize: 32_768 },
  // In megabytes. Node would refuse streams above the default of 10. Other limits bound the memory.
  maxSessionMemory: 4_096,
};
/**
 * Of a whole connection, in bytes. Streams that wait for memory hold their part of this window.
 * With the default of 64 KiB, two of them would block all other streams.
 */
const connectionWindowBytes = 16 * 1024 * 1024;
const contentType = 'application/grpc+proto';
const responseHeaders = { ':status': 200, 'content-type': contentType };
const okTrailers = { 'grpc-status': '0' };
const trailersOption = { waitForTrailers: true };
/**
 * GOAWAY with NO_ERROR and the highest stream number: the client opens no more streams, and those
 * on their way are still served (RFC 9113, section 6.8).
 */
const shutdownNotice = Buffer.from('0000080700000000007fffffff00000000', 'hex');
const emptyBuffer: Buffer = Buffer.alloc(0);
const ignore = (): void => undefined;

/**
 * A server for unary gRPC calls on Node's own HTTP/2. An invalid request gets a status from
 * `toInvalidCallStatus`. Two errors, which no gRPC client of this service makes, are exceptions:
 * a content type other than gRPC's gets HTTP 415 (PROTOCOL-HTTP2.md of gRPC), and an unknown path
 * gets UNIMPLEMENTED.
 */
export class UnaryServer {
  readonly #options: UnaryServerOptions;
  readonly #sessions = new Map<ServerHttp2Session, Duplex>();

  constructor(options: UnaryServerOptions) {
    this.#options = options;
  }

  /** Serves a connection. */
  accept(connection: Duplex): void {
    // A session on a destroyed connection would never close.
    if (connection.destroyed) return;
    const session = performServerHandshake(connection, sessionOptions);
    session.setLocalWindowSize(connectionWindowBytes);
    this.#sessions.set(session, connection);
    session.on('stream', (stream, headers) => this.#onStream(stream, headers));
    session.on('error', ignore);
    session.once('close', () => this.#sessions.delete(session));
  }

  /**
   * Closes all connections gracefully: calls in flight may finish, and clients open no new ones.
   * Destroys the connections that are still open after `ms`.
   */
  async close(ms: number): Promise<void> {
    const sessions = this.#sessions;
    const closing = [...sessions.keys()].map(
      (session) => new Promise((resolve) => session.once('close', resolve)),
    );
    sessions.forEach((connection, session) => shutDown(session, connection));
    // Destroying the session instead would wait until the client reads the rest or disconnects.
    const timer = setTimeout(() => sessions.forEach((connection) => connection.destroy()), ms);
    await Promise.all(closing);
    clearTimeout(timer);
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const { methods, toInvalidCallStatus } = this.#options;
    const call = new Call(stream, this.#options);
    const method = methods.get(headers[':path'] ?? '');
    const timeoutMs = parseTimeout(headers['grpc-timeout'] as string | undefined);
    if (
      headers[':method'] !== 'POST' ||
      headers['content-type']?.startsWith('application/grpc') !== true
    ) {
      call.respondWithHeaders({ ':status': 415 });
    } else if (method === undefined) {
      call.fail({ status: 'UNIMPLEMENTED', text: 'there is no such method' });
    } else if (timeoutMs === undefined) {
      call.fail(toInvalidCallStatus('an invalid grpc-timeout'));
    } else {
      if (timeoutMs !== Infinity) call.deadline = Date.now() + timeoutMs;
      call.receive(method);
    }
  }
}

function shutDown(session: ServerHttp2Session, connection: Duplex): void {
  // The session has ended already, though its connection may still be open.
  if (session.destroyed) return;
  // The notice is written by hand: once nghttp2 itself has sent a GOAWAY with no call open, it
  // reads nothing more, not even the acknowledgement of the ping. Node writes whole frames, so the
  // notice stands between two of them. A client acknowledges the ping after it has read the notice,
  // so calls that it sent before then have arrived.
  connection.write(shutdownNotice);
  session.ping(() => session.close());
}

const callOfStream = Symbol('call');
type CallStream = ServerHttp2Stream & { [callOfStream]?: Call | undefined };

/**
 * A call on its stream. Node keeps an ended stream until the next collection of the old generation.
 * Therefore a stream refers to its call by one property only, which is cleared when the stream
 * closes, and by no listener that would keep a whole mount in memory.
 */
class Call implements UnaryCall {
  message = emptyBuffer;
  deadline = Infinity;
  #responded = false;
  #stream: CallStream;
  readonly #body: Body;
  #method: ((call: UnaryCall) => void) | undefined;
  #closeListener: (() => void) | undefined;
  readonly #options: Omit<UnaryServerOptions, 'methods'>;
  #isReserved = false;
  #releaseMemory: (() => void) | undefined;
  #memoryWait: AbortController | undefined;

  constructor(stream: CallStream, options: Omit<UnaryServerOptions, 'methods'>) {
    this.#stream = stream;
    this.#options = options;
    this.#body = new Body(options.maxMessageBytes);
    stream[callOfStream] = this;
    // 'close' follows; the reason of the error does not matter.
    stream.on('error', ignore);
    stream.on('close', onStreamClose);
  }

  /** Passes the call to the method when the message is complete. */
  receive(method: (call: UnaryCall) => void): void {
    this.#method = method;
    this.#stream.on('data', onStreamData);
    this.#stream.on('end', onStreamEnd);
  }

  data(part: Buffer): void {
    if (this.#responded) return;
    const { maxMessageBytes, toInvalidCallStatus } = this.#options;
    const isTooLarge = !this.#body.add(part) || (this.#body.messageBytes ?? 0) > maxMessageBytes;
    if (isTooLarge) this.fail(toInvalidCallStatus(`more than ${maxMessageBytes} bytes`));
    else this.#reserveMemory();
  }

  /**
   * Reserves memory for the whole message when its prefix shows its size. Until it
   * gets it, the stream is paused: the client sends no more than one flow-control window.
   */
  #reserveMemory(): void {
    const { requestMemory, toInvalidCallStatus } = this.#options;
    const { messageBytes, bytes } = this.#body;
    if (messageBytes === undefined || requestMemory === undefined) return;
    // More bytes than the prefix says would take memory that is not reserved.
    if (bytes > messageHeaderBytes + messageBytes)
      return this.fail(toInvalidCallStatus('more than one message'));
    if (this.#isReserved) return;
    this.#isReserved = true;
    this.#releaseMemory = requestMemory.limiterFor(messageBytes).tryAcquire(messageBytes);
    if (this.#releaseMemory === undefined) void this.#waitForMemory(messageBytes, requestMemory);
  }

  async #waitForMemory(bytes: number, memory: RequestMemory): Promise<void> {
    const wait = new AbortController();
    this.#memoryWait = wait;
    this.#stream.pause();
    const endWait = memory.onWait(this);
    try {
      const release = await memory.limiterFor(bytes).acquire(bytes, wait.signal);
      if (wait.signal.aborted) return release();
      this.#releaseMemory = release;
      this.#stream.resume();
    } catch {
      // The stream has closed.
    } finally {
      endWait();
      this.#memoryWait = undefined;
    }
  }

  end(): void {
    if (this.#responded) return;
    const message = this.#body.read();
    if (typeof message === 'string') return this.fail(this.#options.toInvalidCallStatus(message));
    this.message = message;
    this.#method?.(this);
  }

  close(): void {
    this.#responded = true;
    this.#stream[callOfStream] = undefined;
    this.#memoryWait?.abort();
    this.#releaseMemory?.();
    this.#closeListener?.();
  }

  onClose(listener: () => void): void {
    this.#closeListener = listener;
  }

  respond(framed: Buffer): void {
    if (!this.#startResponse()) return;
    this.#stream.respond(responseHeaders, trailersOption);
    this.#stream.on('wantTrailers', sendOkTrailers);
    this.#stream.end(framed);
  }

  fail({ status, text }: FailureStatus): void {
    const trailers = {
      'grpc-status': String(statusCodes[status]),
      'grpc-message': encodeStatusText(text),
    };
    this.respondWithHeaders({ ...responseHeaders, ...trailers });
  }

  /** Responds with headers only. */
  respondWithHeaders(headers: OutgoingHttpHeaders): void {
    if (!this.#startResponse()) return;
    this.#stream.respond(headers, { endStream: true });
    // The rest of the request is not needed.
    if (!this.#stream.readableEnded) this.#stream.close(constants.NGHTTP2_NO_ERROR);
  }

  #startResponse(): boolean {
    if (this.#responded) return false;
    this.#responded = true;
    return !this.#stream.destroyed && !this.#stream.closed;
  }
}

function onStreamData(this: CallStream, part: Buffer): void {
  this[callOfStream]?.data(part);
}

function onStreamEnd(this: CallStream): void {
  this[callOfStream]?.end();
}

function onStreamClose(this: CallStream): void {
  this[callOfStream]?.close();
}

function sendOkTrailers(this: CallStream): void {
  this.sendTrailers(okTrailers);
}
