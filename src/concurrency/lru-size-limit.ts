/**
 * Options for an LRUCache of up to `max` entries that allocates memory as it grows. lru-cache's own
 * option `max` allocates 16 bytes for each possible entry at once, on every node, although most
 * nodes run a hundredth of that many pods.
 */
export function lruSizeLimit(max: number): {
  readonly maxSize: number;
  readonly sizeCalculation: () => number;
} {
  return { maxSize: max, sizeCalculation: () => 1 };
}
