// A unary gRPC call in HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md):
// one message each way, with a prefix of five bytes, and a status in the trailers.

/** The size of the prefix of a message: a byte for the compression, four for the length. */
export const messageHeaderBytes = 5;

/** A buffer for a message of `bytes` bytes, with the prefix filled in. */
export function frameFor(bytes: number): Buffer {
  const frame = Buffer.allocUnsafe(messageHeaderBytes + bytes);
  frame[0] = 0;
  frame.writeUInt32BE(bytes, 1);
  return frame;
}

/** A message with its prefix. */
export function frameMessage(message: Uint8Array): Buffer {
  const frame = frameFor(message.length);
  frame.set(message, messageHeaderBytes);
  return frame;
}

/**
 * The body of a request or response while it arrives. A part is a view of the whole buffer that was
 * read from the socket. Several parts are copied into one buffer, so that a body sent byte by byte
 * takes no more memory than any other.
 */
export class Body {
  readonly #maxBytes: number;
  #buffer: Buffer = Buffer.alloc(0);
  #bytes = 0;

  /** @param maxMessageBytes the largest message that is accepted */
  constructor(maxMessageBytes: number) {
    this.#maxBytes = messageHeaderBytes + maxMessageBytes;
  }

  /** Adds a part. Returns false, and leaves it out, if the message would be too large. */
  add(part: Buffer): boolean {
    const bytes = this.#bytes + part.length;
    if (bytes > this.#maxBytes) return false;
    if (this.#bytes === 0) {
      this.#buffer = part;
    } else {
      // The first part belongs to the socket's read. It is full, so this copies it before it
      // writes.
      if (bytes > this.#buffer.length) this.#grow(Math.min(2 * bytes, this.#maxBytes));
      part.copy(this.#buffer, this.#bytes);
    }
    this.#bytes = bytes;
    return true;
  }

  /** How many bytes have arrived, prefix included. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The size of the message by its prefix. Undefined until the prefix is complete. */
  get messageBytes(): number | undefined {
    return this.#bytes < messageHeaderBytes ? undefined : this.#buffer.readUInt32BE(1);
  }

  /** The message, or the problem: see {@link readMessage}. */
  read(): Buffer | string {
    return readMessage(this.#buffer.subarray(0, this.#bytes));
  }

  #grow(bytes: number): void {
    const grown = Buffer.allocUnsafe(bytes);
    this.#buffer.copy(grown);
    this.#buffer = grown;
  }
}

/**
 * The message of a body. A body that is not exactly one message gives the problem as a string,
 * which reads on from "the request has": `no message`.
 */
export function readMessage(body: Buffer): Buffer | string {
  if (body.length === 0) return 'no message';
  if (body.length < messageHeaderBytes) return 'an incomplete message';
  if (body[0] !== 0) return 'a compressed message, and compression was not negotiated';
  const end = messageHeaderBytes + body.readUInt32BE(1);
  if (end > body.length) return 'an incomplete message';
  if (end < body.length) return 'more than one message';
  return body.subarray(messageHeaderBytes);
}

/**
 * A status text as a `grpc-message` header. It percent-encodes the percent sign, every character
 * outside printable ASCII, and a space at either end, which HTTP/2 does not allow in a header.
 */
export function encodeStatusText(text: string): string {
  return text.toWellFormed().replace(/[^ -$&-~]+|^ | $/g, encodeURIComponent);
}

/** Reverses {@link encodeStatusText}. Returns invalid encoding unchanged. */
export function decodeStatusText(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const millisecondsIn = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** A `grpc-timeout` in milliseconds; Infinity without a timeout, undefined if it is invalid. */
export function parseTimeout(text: string | undefined): number | undefined {
  if (text === undefined) return Infinity;
  if (!/^\d{1,8}[HMSmun]$/.test(text)) return undefined;
  return parseInt(text, 10) * millisecondsIn[text.slice(-1) as keyof typeof millisecondsIn];
}

/** Milliseconds as a `grpc-timeout`, rounded down to fit its eight digits. */
export function formatTimeout(ms: number): string {
  const wholeMs = Math.max(0, Math.floor(ms));
  return wholeMs < 1e8 ? `${wholeMs}m` : `${Math.min(Math.floor(wholeMs / 1_000), 99_999_999)}S`;
}

/** The gRPC statuses (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md). */
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

/** The name of a `grpc-status`; undefined if gRPC does not define it. */
export function statusNameOf(code: string): StatusName | undefined {
  return /^\d{1,2}$/.test(code) ? names.get(Number(code)) : undefined;
}
