import { SecretError } from '../core/errors.ts';

/** The largest line in bytes. */
const maxLineBytes = 1_048_576;

/**
 * Splits a stream into lines. Empty lines, and the text after the last line break, are left out.
 * @throws SecretError STORE_ANSWER_TOO_LARGE for a line above 1 MiB
 */
export function createLineReader(onLine: (line: Buffer) => void): (piece: Uint8Array) => void {
  let unfinished: Buffer = Buffer.alloc(0);
  return (piece) => {
    const text = Buffer.concat([unfinished, piece]);
    let start = 0;
    for (let end = text.indexOf(10); end !== -1; end = text.indexOf(10, start)) {
      if (end > start) onLine(text.subarray(start, end));
      start = end + 1;
    }
    unfinished = text.subarray(start);
    if (unfinished.length > maxLineBytes)
      throw new SecretError(
        'STORE_ANSWER_TOO_LARGE',
        `sent a line of more than ${maxLineBytes} bytes`,
      );
  };
}
