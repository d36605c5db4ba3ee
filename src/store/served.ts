import { LRUCache } from 'lru-cache';

/** See {@link createServed}. */
export type Served = {
  has(instance: string, key: string): boolean;
  add(instance: string, key: string): void;
};

/**
 * Which workload has already been served which secret by this process: what makes a request a republish. Forgetting costs one
 * further read, so both bounds are generous for a node and nothing more.
 */
export function createServed({ instances = 2_000, perInstance = 1_000 } = {}): Served {
  const byInstance = new LRUCache<string, Set<string>>({ max: instances });
  return {
    has: (instance, key) => byInstance.get(instance)?.has(key) ?? false,
    add(instance, key) {
      const keys = byInstance.get(instance) ?? new Set();
      if (keys.size >= perInstance) keys.clear();
      keys.add(key);
      byInstance.set(instance, keys);
    },
  };
}
