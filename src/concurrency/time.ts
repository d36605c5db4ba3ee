/**
 * Whether it was less than `ms` milliseconds before `at`; never was is not. What is to be yet was before the clock was set back, nobody
 * knows when: it is not recent.
 */
export function isRecent(since: number | undefined, ms: number, at: number): boolean {
  return since !== undefined && since <= at && at - since < ms;
}

/**
 * Limits of an LRUCache for up to `max` entries whose room grows with them. `max` as lru-cache's own option reserves the room of all of them
 * at once: 16 bytes each on every node, most of which run a hundredth of that many pods.
 */
export function lruSizeLimit(max: number): {
  readonly maxSize: number;
  readonly sizeCalculation: () => number;
} {
  return { maxSize: max, sizeCalculation: () => 1 };
}
