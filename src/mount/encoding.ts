import type { Encoding } from '../plan/plan.ts';

/**
 * What a text stored in base64 or hex stands for; `undefined` where it is neither. White space is left out wherever it stands, as `base64` and
 * PEM wrap lines; otherwise strict: base64 in the standard alphabet with its padding, hex digits in pairs, in either case.
 */
export function decode(bytes: Uint8Array, encoding: Exclude<Encoding, 'utf-8'>): Uint8Array | undefined {
  const text = Buffer.from(bytes)
    .toString('latin1')
    .replace(/[ \t\r\n]+/g, '');
  const decoded = Buffer.from(text, encoding);
  // Node stops at, or skips, what it cannot read.
  return decoded.toString(encoding) === (encoding === 'hex' ? text.toLowerCase() : text)
    ? decoded
    : undefined;
}
