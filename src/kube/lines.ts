import { SecretError } from '../errors/secret-error.ts';

/** Of one line, in bytes. */
const maxLine = 1_048_576;

/**
 * Cuts a stream into lines, however its pieces fall; empty ones are left out, and so is what follows the last line break.
 * @throws SecretError STORE_ANSWER_TOO_LARGE where a line does not end
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
    if (unfinished.length > maxLine)
      throw new SecretError('STORE_ANSWER_TOO_LARGE', `a line of more than ${maxLine} bytes came`);
  };
}
