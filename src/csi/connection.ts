import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { createAuthorityRewrite } from './authority.ts';

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

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
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
