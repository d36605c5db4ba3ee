// What a unary call of gRPC looks like in HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md): one message each way, behind
// a head of five bytes, and a status among the trailers.

/** Bytes before a message: whether it is compressed, and its length. */
export const messageHeaderBytes = 5;

/** A buffer for a message of so many bytes, with its head in place. */
export function frameFor(bytes: number): Buffer {
  const frame = Buffer.allocUnsafe(messageHeaderBytes + bytes);
  frame[0] = 0;
  frame.writeUInt32BE(bytes, 1);
  return frame;
}

/** A message behind its head. */
export function frameMessage(message: Uint8Array): Buffer {
  const frame = frameFor(message.length);
  frame.set(message, messageHeaderBytes);
  return frame;
}

/**
 * A body as it comes in. Its parts are views of all that was read with them: where there are several, they are copied together, so that a body sent
 * byte by byte takes no more memory than any other.
 */
export class Body {
  readonly #maxBytes: number;
  #buffer: Buffer = Buffer.alloc(0);
  #bytes = 0;

  /** @param maxMessageBytes the longest message that is taken */
  constructor(maxMessageBytes: number) {
    this.#maxBytes = messageHeaderBytes + maxMessageBytes;
  }

  /** Whether there is room for the part; if not, it is left out. */
  add(part: Buffer): boolean {
    const bytes = this.#bytes + part.length;
    if (bytes > this.#maxBytes) return false;
    if (this.#bytes === 0) {
      this.#buffer = part;
    } else {
      // Never into the first part, which is full.
      if (bytes > this.#buffer.length) this.#grow(Math.min(2 * bytes, this.#maxBytes));
      part.copy(this.#buffer, this.#bytes);
    }
    this.#bytes = bytes;
    return true;
  }

  /** What {@link readMessage} makes of it. */
  read(): Buffer | string {
    return readMessage(this.#buffer.subarray(0, this.#bytes));
  }

  #grow(bytes: number): void {
    const grown = Buffer.allocUnsafe(bytes);
    this.#buffer.copy(grown);
    this.#buffer = grown;
  }
}

/** The one message that a body consists of, or what is wrong with it. */
export function readMessage(body: Buffer): Buffer | string {
  if (body.length === 0) return 'without a message';
  if (body.length < messageHeaderBytes) return 'with half a message';
  if (body[0] !== 0) return 'with a compressed message, which nobody was offered';
  const end = messageHeaderBytes + body.readUInt32BE(1);
  if (end > body.length) return 'with half a message';
  if (end < body.length) return 'with more than one message';
  return body.subarray(messageHeaderBytes);
}

/** A status text as `grpc-message` carries it: percent-encoded what is not printable ASCII, the percent sign, and a space at either end, with which a header is none. */
export function encodeStatusText(text: string): string {
  return text.toWellFormed().replace(/[^ -$&-~]+|^ | $/g, encodeURIComponent);
}

/** What {@link encodeStatusText} made. Of what is encoded wrongly, the text as it came. */
export function decodeStatusText(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const millisecondsIn = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** The milliseconds that a `grpc-timeout` gives; Infinity where none came, undefined where it is none. */
export function readTimeout(text: string | undefined): number | undefined {
  if (text === undefined) return Infinity;
  if (!/^\d{1,8}[HMSmun]$/.test(text)) return undefined;
  return parseInt(text, 10) * millisecondsIn[text.slice(-1) as keyof typeof millisecondsIn];
}

/** A `grpc-timeout` of so many milliseconds, rounded down to what fits its eight digits. */
export function writeTimeout(ms: number): string {
  const wholeMs = Math.max(0, Math.floor(ms));
  return wholeMs < 1e8 ? `${wholeMs}m` : `${Math.min(Math.floor(wholeMs / 1_000), 99_999_999)}S`;
}

/** The statuses of gRPC by their names (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md). */
export const statusCodes = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** The name of a gRPC status: `OK`, `NOT_FOUND`, ... */
export type StatusName = keyof typeof statusCodes;

const names = new Map<number, StatusName>(
  Object.entries(statusCodes).map(([name, code]) => [code, name as StatusName]),
);

/** The name of what came as `grpc-status`; undefined where it is no status that gRPC knows. */
export function statusNameOf(code: string): StatusName | undefined {
  return /^\d{1,2}$/.test(code) ? names.get(Number(code)) : undefined;
}
