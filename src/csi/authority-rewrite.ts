import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { replaceAuthority } from './hpack.ts';

const emptyBuffer = Buffer.alloc(0);
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const frameHeaderBytes = 9;
const type = { headers: 0x1, continuation: 0x9 };
const flag = { endHeaders: 0x4, padded: 0x8, priority: 0x20 };

/** The largest header block, with its frames, that is rewritten: many times what a driver sends. */
const maxBlockBytes = 16 * 1024;

/**
 * Rewrites the incoming bytes of one connection: the `:authority` of every header block becomes
 * `localhost` ({@link replaceAuthority}). All other bytes pass unchanged, as slices of the chunk.
 * The function returns the bytes that may pass now. It holds back only an incomplete header block,
 * at most 16 KiB and a frame header. It never throws: bytes that are not HTTP/2, too long or
 * invalid pass unchanged, and the HTTP/2 layer rejects them.
 */
export function createAuthorityRewrite(): (chunk: Buffer) => Buffer[] {
  let pending: Buffer = emptyBuffer;
  /** The number of bytes before the next frame. */
  let bytesToPass = preface.length;
  let isHttp2 = true;
  let prefaceBytes = 0;

  return (chunk) => {
    if (prefaceBytes < preface.length) checkPreface(chunk);
    if (!isHttp2) return [chunk];
    const bytes = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    const out: Buffer[] = [];
    let sent = 0;
    let at = 0;
    for (;;) {
      const step = Math.min(bytesToPass, bytes.length - at);
      at += step;
      bytesToPass -= step;
      if (bytesToPass > 0 || bytes.length - at < frameHeaderBytes) break;
      const frames = readBlockFrames(bytes, at);
      if (frames === 'unfinished') {
        if (bytes.length - at <= maxBlockBytes) break;
        bytesToPass = frameHeaderBytes + bytes.readUIntBE(at, 3);
      } else if (frames.length === 0) {
        bytesToPass = frameHeaderBytes + bytes.readUIntBE(at, 3);
      } else {
        const end = frames.at(-1)?.end ?? at;
        const rewritten = rewriteFrames(bytes, frames);
        if (rewritten !== undefined) {
          out.push(bytes.subarray(sent, at), rewritten);
          sent = end;
        }
        at = end;
      }
    }
    out.push(bytes.subarray(sent, at));
    // An empty slice would retain the whole chunk.
    pending = at === bytes.length ? emptyBuffer : bytes.subarray(at);
    return out.filter((part) => part.length > 0);
  };

  function checkPreface(chunk: Buffer): void {
    const part = chunk.subarray(0, preface.length - prefaceBytes);
    if (!part.equals(preface.subarray(prefaceBytes, prefaceBytes + part.length))) isHttp2 = false;
    prefaceBytes += part.length;
  }
}

/** A frame of a header block. Its fragment of the block lies between `from` and `to`. */
type BlockFrame = {
  readonly start: number;
  readonly from: number;
  readonly to: number;
  readonly end: number;
};

/**
 * The HEADERS frame at `at` with its CONTINUATION frames; none for another frame or inconsistent
 * lengths.
 */
function readBlockFrames(bytes: Buffer, at: number): readonly BlockFrame[] | 'unfinished' {
  if (bytes[at + 3] !== type.headers) return [];
  const frames: BlockFrame[] = [];
  const stream = bytes.readUInt32BE(at + 5);
  for (let start = at; ;) {
    if (bytes.length - start < frameHeaderBytes) return 'unfinished';
    const expected = start === at ? type.headers : type.continuation;
    if (bytes[start + 3] !== expected || bytes.readUInt32BE(start + 5) !== stream) return [];
    const frame = readFragment(bytes, start);
    if (frame === undefined) return [];
    if (frame.end > bytes.length) return 'unfinished';
    frames.push(frame);
    if (((bytes[start + 4] ?? 0) & flag.endHeaders) !== 0) return frames;
    start = frame.end;
  }
}

function readFragment(bytes: Buffer, start: number): BlockFrame | undefined {
  const end = start + frameHeaderBytes + bytes.readUIntBE(start, 3);
  // CONTINUATION has neither padding nor priority.
  const flags = bytes[start + 3] === type.headers ? (bytes[start + 4] ?? 0) : 0;
  const padded = (flags & flag.padded) !== 0;
  const from =
    start + frameHeaderBytes + (padded ? 1 : 0) + ((flags & flag.priority) !== 0 ? 5 : 0);
  const to = end - (padded ? (bytes[start + frameHeaderBytes] ?? 0) : 0);
  return from > to ? undefined : { start, from, to, end };
}

/**
 * The frames with the new block, no fragment longer than before; undefined if there is nothing to
 * replace.
 */
function rewriteFrames(bytes: Buffer, frames: readonly BlockFrame[]): Buffer | undefined {
  const block = replaceAuthority(
    Buffer.concat(frames.map(({ from, to }) => bytes.subarray(from, to))),
  );
  if (block === undefined) return undefined;
  let used = 0;
  return Buffer.concat(
    frames.flatMap(({ start, from, to, end }) => {
      const fragment = block.subarray(used, used + to - from);
      used += fragment.length;
      const head = Buffer.from(bytes.subarray(start, from));
      head.writeUIntBE(end - start - frameHeaderBytes - (to - from) + fragment.length, 0, 3);
      return [head, fragment, bytes.subarray(to, end)];
    }),
  );
}

/**
 * A driver's connection whose incoming bytes pass {@link createAuthorityRewrite}. Outgoing bytes
 * are unchanged. Back-pressure, half-close, errors and the end pass in both directions.
 */
export class DriverConnection extends Duplex {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    super();
    this.#socket = socket;
    const rewrite = createAuthorityRewrite();
    socket.on('data', (chunk: Buffer) => {
      for (const part of rewrite(chunk)) {
        if (!this.push(part)) socket.pause();
      }
    });
    socket.on('end', () => this.push(null));
    // 'close' follows; the reason of the error does not matter.
    socket.on('error', () => undefined);
    socket.on('close', () => this.destroy());
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(
    chunk: Buffer,
    encoding: BufferEncoding,
    done: (error?: Error | null) => void,
  ): void {
    this.#socket.write(chunk, encoding, done);
  }

  override _writev(
    chunks: { chunk: Buffer; encoding: BufferEncoding }[],
    done: (error?: Error | null) => void,
  ): void {
    this.#socket.cork();
    chunks.forEach(({ chunk, encoding }, index) => {
      this.#socket.write(chunk, encoding, index === chunks.length - 1 ? done : undefined);
    });
    this.#socket.uncork();
  }

  override _final(done: () => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }
}
