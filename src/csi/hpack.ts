// HPACK (RFC 7541) as far as lengths go: enough to step from one representation of a header block to the next without decoding Huffman or
// keeping a dynamic table.

/** `localhost` as a string literal: Huffman-coded, six bytes. */
const localhost = Buffer.from('86a0e41d139d09', 'hex');
const localhostLength = 'localhost'.length;

/** Where `:authority` stands in the static table. */
const authorityIndex = 1;

/**
 * The header block with `localhost` for the value of `:authority`, or undefined where there is nothing to replace or the block cannot be walked.
 *
 * Drivers up to 1.5 send the socket's path there, which Node refuses. The representation byte stays: what the sender puts into its dynamic table, the
 * receiver puts there too. An entry of ours is never longer than the sender's, so the receiver's table holds at least what the sender thinks it
 * holds, and indices, which count from the newest entry, agree.
 */
export function replaceAuthority(block: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  let kept = 0;
  let at = 0;
  while (at < block.length) {
    const representation = readRepresentation(block, at);
    if (representation === undefined) return undefined;
    const { authority, end } = representation;
    if (authority !== undefined && mayBecomeLocalhost(block, authority)) {
      parts.push(block.subarray(kept, authority.start), localhost);
      kept = end;
    }
    at = end;
  }
  return parts.length === 0 ? undefined : Buffer.concat([...parts, block.subarray(kept)]);
}

/** A step of the walk: where the representation ends, and the value of a literal `:authority`. */
type Representation = { readonly end: number; readonly authority?: StringLiteral };

/** A string literal: `start` at its length, `bytes` how many follow the length. */
type StringLiteral = { readonly start: number; readonly bytes: number; readonly end: number };

function readRepresentation(block: Buffer, start: number): Representation | undefined {
  const first = block[start] ?? 0;
  // 1.......: an indexed field; 001.....: a new size of the dynamic table. An integer and no more.
  if (first >= 0x80 || (first >= 0x20 && first < 0x40)) {
    const integer = readInteger(block, start, first >= 0x80 ? 7 : 5);
    return integer && { end: integer.end };
  }
  // 01......: a literal that enters the table; 0000.... and 0001....: one that does not.
  const name = readInteger(block, start, first >= 0x40 ? 6 : 4);
  if (name === undefined) return undefined;
  const nameEnd = name.value === 0 ? readString(block, name.end)?.end : name.end;
  const value = nameEnd === undefined ? undefined : readString(block, nameEnd);
  if (value === undefined) return undefined;
  return name.value === authorityIndex ? { end: value.end, authority: value } : { end: value.end };
}

/**
 * Whether the value's text has at least the length of `localhost`. Huffman text is longer than its code wherever Huffman was worth using.
 * Go's encoder, whose paths are meant, uses it nowhere else.
 */
function mayBecomeLocalhost(block: Buffer, { start, bytes }: StringLiteral): boolean {
  const huffman = (block[start] ?? 0) >= 0x80;
  return (huffman ? bytes + 1 : bytes) >= localhostLength;
}

function readString(block: Buffer, start: number): StringLiteral | undefined {
  const length = readInteger(block, start, 7);
  if (length === undefined) return undefined;
  const end = length.end + length.value;
  return end > block.length ? undefined : { start, bytes: length.value, end };
}

/** An integer with a prefix of so many bits; undefined where the block ends within it or it could not fit any block. */
function readInteger(
  block: Buffer,
  start: number,
  bits: number,
): { value: number; end: number } | undefined {
  const first = block[start];
  if (first === undefined) return undefined;
  const prefix = (1 << bits) - 1;
  let value = first & prefix;
  let at = start + 1;
  if (value < prefix) return { value, end: at };
  for (let shift = 0; shift <= 21; shift += 7) {
    const byte = block[at];
    if (byte === undefined) return undefined;
    at += 1;
    value += (byte & 0x7f) << shift;
    if (byte < 0x80) return { value, end: at };
  }
  return undefined;
}
