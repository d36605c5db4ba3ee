/**
 * The same bytes in memory of their own. Node cuts small buffers from a slab of 8 KiB or more, and
 * a slab lives as long as one buffer in it: a cache of small secrets would hold a slab for each.
 * Returns the buffer itself if it has its memory already.
 */
export function toOwnBuffer(bytes: Uint8Array): Uint8Array {
  if (bytes.buffer.byteLength === bytes.byteLength) return bytes;
  const copy = Buffer.allocUnsafeSlow(bytes.byteLength);
  copy.set(bytes);
  return copy;
}
