// The lengths of HPACK (RFC 7541): enough to step from one representation of a header block to the
// next without a Huffman decoder or a dynamic table.

/** `localhost` as a string literal: Huffman-coded, six bytes. */
const localhost = Buffer.from('86a0e41d139d09', 'hex');
const localhostLength = 'localhost'.length;

/** The index of `:authority` in the static table. */
const authorityIndex = 1;

/**
 * The header block with `localhost` as the value of `:authority`; undefined if there is nothing to
 * replace or the block is invalid.
 *
 * Drivers up to 1.5 send the path of the socket, which Node rejects. The representation byte does
 * not change, so the receiver adds the same entries to its dynamic table as the sender. The new
 * entry is never longer than the sender's. Therefore the receiver's table holds at least the
 * entries that the sender expects, and the indices, which count from the newest entry, agree.
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

/** Where a representation ends, and the value of a literal `:authority`. */
type Representation = { readonly end: number; readonly authority?: StringLiteral };

/** A string literal: `start` is the position of its length, `bytes` its length. */
type StringLiteral = { readonly start: number; readonly bytes: number; readonly end: number };

function readRepresentation(block: Buffer, start: number): Representation | undefined {
  const first = block[start] ?? 0;
  // 1.......: an indexed field; 001.....: a new size of the dynamic table. Both are one integer.
  if (first >= 0x80 || (first >= 0x20 && first < 0x40)) {
    const integer = readInteger(block, start, first >= 0x80 ? 7 : 5);
    return integer && { end: integer.end };
  }
  // 01......: a literal that is added to the table; 0000.... and 0001....: one that is not.
  const name = readInteger(block, start, first >= 0x40 ? 6 : 4);
  if (name === undefined) return undefined;
  const nameEnd = name.value === 0 ? readString(block, name.end)?.end : name.end;
  const value = nameEnd === undefined ? undefined : readString(block, nameEnd);
  if (value === undefined) return undefined;
  return name.value === authorityIndex ? { end: value.end, authority: value } : { end: value.end };
}

/**
 * Whether the decoded value is at least as long as `localhost`. Go's encoder, which the drivers
 * use, chooses Huffman only where the code is shorter than the text.
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

/**
 * An integer with a prefix of `bits` bits; undefined if it is incomplete or larger than any block.
 */
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
