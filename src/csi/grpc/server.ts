import {
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  constants,
  performServerHandshake,
} from 'node:http2';
import type { Duplex } from 'node:stream';
import { Body, type StatusName, encodeStatusText, readTimeout, statusCodes } from './wire.ts';

/** What a call that failed ends with. */
export type FailureStatus = { readonly status: StatusName; readonly text: string };

/** One call, from its message to its answer. */
export type UnaryCall = {
  /** As it came, without its head. */
  readonly message: Buffer;
  /** Milliseconds since 1970 until when the caller waits; Infinity where it did not say. */
  readonly deadline: number;
  /** Answers with a message behind its head. Of answers and failures the first counts, and none once the caller has left. */
  respond(framed: Buffer): void;
  fail(ending: FailureStatus): void;
  /** `listener`, given before the method returns, is called once, when the call's stream is over: after the last byte has left, or when the caller has. */
  onStreamClose(listener: () => void): void;
};

/** A gRPC server: see {@link createUnaryServer}. */
export type UnaryServer = {
  /** Speaks HTTP/2 over a connection. */
  accept(connection: Duplex): void;
  /** Takes leave of all connections: what is under way may end, nothing new begins. Whoever is still there after `ms` is cut off. */
  close(ms: number): Promise<void>;
};

/** What {@link createUnaryServer} needs. */
export type UnaryServerOptions = {
  /** What answers to which path, such as `/package.Service/Method`. */
  readonly methods: ReadonlyMap<string, (call: UnaryCall) => void>;
  /** The longest message in bytes that is taken. */
  readonly maxMessageBytes: number;
  /** What a call ends with that is none: without a message, with two, too long, compressed, with a timeout that is none. */
  readonly toInvalidCallStatus: (problem: string) => FailureStatus;
};

const sessionOptions = {
  // All pods of a node at once; a stream beyond it would wait in the driver, where no deadline of ours reaches.
  settings: { maxConcurrentStreams: 10_000, enablePush: false },
  // In megabytes. Node would refuse streams beyond 10 of them; what is in memory has its bounds elsewhere.
  maxSessionMemory: 4_096,
};
const contentType = 'application/grpc+proto';
const responseHeaders = { ':status': 200, 'content-type': contentType };
const okTrailers = { 'grpc-status': '0' };
const trailersOption = { waitForTrailers: true };
/** GOAWAY, NO_ERROR, with the highest of stream numbers: no more calls, please, and none is refused yet (RFC 9113, section 6.8). */
const shutdownNotice = Buffer.from('0000080700000000007fffffff00000000', 'hex');
const emptyBuffer: Buffer = Buffer.alloc(0);
const ignore = (): void => undefined;

/**
 * Unary gRPC on Node's own HTTP/2. What a caller may do wrong ends with a status of `refused`'s making, but for two things
 * that only other programs than gRPC clients of this service do: a content type that is not gRPC's (415, as gRPC asks for) and an unknown path (UNIMPLEMENTED).
 */
export function createUnaryServer({
  methods,
  maxMessageBytes,
  toInvalidCallStatus: refused,
}: UnaryServerOptions): UnaryServer {
  const sessions = new Map<ServerHttp2Session, Duplex>();

  function onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const call = new Call(stream, maxMessageBytes, refused);
    const method = methods.get(headers[':path'] ?? '');
    const timeoutMs = readTimeout(headers['grpc-timeout'] as string | undefined);
    if (
      headers[':method'] !== 'POST' ||
      headers['content-type']?.startsWith('application/grpc') !== true
    ) {
      call.respondWithHeaders({ ':status': 415 });
    } else if (method === undefined) {
      call.fail({ status: 'UNIMPLEMENTED', text: 'there is no such method' });
    } else if (timeoutMs === undefined) {
      call.fail(refused('with a timeout that is none'));
    } else {
      if (timeoutMs !== Infinity) call.deadline = Date.now() + timeoutMs;
      call.receive(method);
    }
  }

  function shutDown(session: ServerHttp2Session, connection: Duplex): void {
    // It has ended, and nobody is there to take leave of, even where its connection is still open.
    if (session.destroyed) return;
    // What is on its way may still come; after an answer to the ping, what comes was sent in spite of the notice. By hand, since nghttp2 reads nothing
    // more, be it the ping's answer, once it has sent a GOAWAY itself while no call was open. Node writes whole frames, so it stands between two.
    connection.write(shutdownNotice);
    session.ping(() => session.close());
  }

  return {
    accept(connection) {
      // A session around it would never end.
      if (connection.destroyed) return;
      const session = performServerHandshake(connection, sessionOptions);
      sessions.set(session, connection);
      session.on('stream', onStream);
      session.on('error', ignore);
      session.once('close', () => sessions.delete(session));
    },
    async close(ms) {
      const closing = [...sessions.keys()].map(
        (session) => new Promise((resolve) => session.once('close', resolve)),
      );
      sessions.forEach((connection, session) => shutDown(session, connection));
      // Not the session, which would wait for its peer to read what is left, or to hang up.
      const timer = setTimeout(() => sessions.forEach((connection) => connection.destroy()), ms);
      await Promise.all(closing);
      clearTimeout(timer);
    },
  };
}

const callOfStream = Symbol('call');
type CallStream = ServerHttp2Stream & { [callOfStream]?: Call | undefined };

/**
 * A call and what it has to do with its stream. Node's streams live on until the old generation is collected, long after they have ended: so a
 * stream is tied to its call by one property, which is cut when it ends, and by no listener that would keep a whole mount alive.
 */
class Call implements UnaryCall {
  message = emptyBuffer;
  deadline = Infinity;
  #responded = false;
  #stream: CallStream;
  readonly #body: Body;
  #method: ((call: UnaryCall) => void) | undefined;
  #closeListener: (() => void) | undefined;
  readonly #maxBytes: number;
  readonly #toInvalidCallStatus: UnaryServerOptions['toInvalidCallStatus'];

  constructor(
    stream: CallStream,
    maxBytes: number,
    refused: UnaryServerOptions['toInvalidCallStatus'],
  ) {
    this.#stream = stream;
    this.#body = new Body(maxBytes);
    this.#maxBytes = maxBytes;
    this.#toInvalidCallStatus = refused;
    stream[callOfStream] = this;
    // 'close' follows; why a stream broke, nobody need know.
    stream.on('error', ignore);
    stream.on('close', onClose);
  }

  /** Waits for the message, and hands itself to the method. */
  receive(method: (call: UnaryCall) => void): void {
    this.#method = method;
    this.#stream.on('data', onStreamData);
    this.#stream.on('end', onStreamEnd);
  }

  data(part: Buffer): void {
    if (this.#responded || this.#body.add(part)) return;
    this.fail(this.#toInvalidCallStatus(`with more than ${this.#maxBytes} bytes`));
  }

  end(): void {
    if (this.#responded) return;
    const message = this.#body.read();
    if (typeof message === 'string') return this.fail(this.#toInvalidCallStatus(message));
    this.message = message;
    this.#method?.(this);
  }

  close(): void {
    this.#responded = true;
    this.#stream[callOfStream] = undefined;
    this.#closeListener?.();
  }

  onStreamClose(listener: () => void): void {
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

  /** Answers with headers alone. */
  respondWithHeaders(headers: OutgoingHttpHeaders): void {
    if (!this.#startResponse()) return;
    this.#stream.respond(headers, { endStream: true });
    // What the caller still sends need not come.
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

function onClose(this: CallStream): void {
  this[callOfStream]?.close();
}

function sendOkTrailers(this: CallStream): void {
  this.sendTrailers(okTrailers);
}
