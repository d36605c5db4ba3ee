import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { replaceAuthority } from './hpack.ts';

const nothing = Buffer.alloc(0);
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const frameHeader = 9;
const type = { headers: 0x1, continuation: 0x9 };
const flag = { endHeaders: 0x4, padded: 0x8, priority: 0x20 };

/** The longest header block, frames and all, that is looked into: many times what a driver sends. */
const maxBlock = 16 * 1024;

/**
 * Makes the rewriting of one connection's incoming bytes: every header block's `:authority` becomes `localhost` ({@link replaceAuthority}); all else
 * passes as it came, as slices of what was read. Answers with what may go on now; only the bytes of an unfinished header block are
 * held back, at most 16 KiB and a frame's head. Never throws: what is no HTTP/2, too long or broken passes unchanged, for the HTTP/2 layer to refuse.
 */
export function createAuthorityRewrite(): (read: Buffer) => Buffer[] {
  let held: Buffer = nothing;
  /** How many bytes may pass before the next frame begins. */
  let passing = preface.length;
  let isHttp2 = true;
  let greeted = 0;

  return (read) => {
    if (greeted < preface.length) greet(read);
    if (!isHttp2) return [read];
    const bytes = held.length === 0 ? read : Buffer.concat([held, read]);
    const out: Buffer[] = [];
    let sent = 0;
    let at = 0;
    for (;;) {
      const step = Math.min(passing, bytes.length - at);
      at += step;
      passing -= step;
      if (passing > 0 || bytes.length - at < frameHeader) break;
      const frames = readBlockFrames(bytes, at);
      if (frames === 'unfinished') {
        if (bytes.length - at <= maxBlock) break;
        passing = frameHeader + bytes.readUIntBE(at, 3);
      } else if (frames.length === 0) {
        passing = frameHeader + bytes.readUIntBE(at, 3);
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
    // Not an empty slice, which would keep all of what was read alive.
    held = at === bytes.length ? nothing : bytes.subarray(at);
    return out.filter((part) => part.length > 0);
  };

  function greet(read: Buffer): void {
    const part = read.subarray(0, preface.length - greeted);
    if (!part.equals(preface.subarray(greeted, greeted + part.length))) isHttp2 = false;
    greeted += part.length;
  }
}

/** A frame of a header block and where its fragment of the block lies. */
type BlockFrame = {
  readonly start: number;
  readonly from: number;
  readonly to: number;
  readonly end: number;
};

/** The HEADERS frame at `at` with its CONTINUATIONs; none where another frame is there or this one's own lengths do not fit. */
function readBlockFrames(bytes: Buffer, at: number): readonly BlockFrame[] | 'unfinished' {
  if (bytes[at + 3] !== type.headers) return [];
  const frames: BlockFrame[] = [];
  const stream = bytes.readUInt32BE(at + 5);
  for (let start = at; ;) {
    if (bytes.length - start < frameHeader) return 'unfinished';
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
  const end = start + frameHeader + bytes.readUIntBE(start, 3);
  // CONTINUATION knows neither padding nor priority.
  const flags = bytes[start + 3] === type.headers ? (bytes[start + 4] ?? 0) : 0;
  const padded = (flags & flag.padded) !== 0;
  const from = start + frameHeader + (padded ? 1 : 0) + ((flags & flag.priority) !== 0 ? 5 : 0);
  const to = end - (padded ? (bytes[start + frameHeader] ?? 0) : 0);
  return from > to ? undefined : { start, from, to, end };
}

/** The frames with the new block in them, each fragment at most as long as it was; undefined where nothing is to be replaced. */
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
      head.writeUIntBE(end - start - frameHeader - (to - from) + fragment.length, 0, 3);
      return [head, fragment, bytes.subarray(to, end)];
    }),
  );
}

/**
 * A driver's connection as HTTP/2 is to see it: what comes in passes {@link createAuthorityRewrite}, what goes out goes out as it is. Back-pressure,
 * half-close, errors and the end pass both ways.
 */
export class DriverConnection extends Duplex {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    super();
    this.#socket = socket;
    const rewrite = createAuthorityRewrite();
    socket.on('data', (read: Buffer) => {
      for (const part of rewrite(read)) {
        if (!this.push(part)) socket.pause();
      }
    });
    socket.on('end', () => this.push(null));
    // 'close' follows; whoever reads here need not know why it ended.
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
