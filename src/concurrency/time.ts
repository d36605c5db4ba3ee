/**
 * Whether `since` is less than `ms` milliseconds before `at`. Undefined is not recent. Neither is a
 * time in the future: it was recorded before the clock was set back, and its age is unknown.
 */
export function isRecent(since: number | undefined, ms: number, at: number): boolean {
  return since !== undefined && since <= at && at - since < ms;
}

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
