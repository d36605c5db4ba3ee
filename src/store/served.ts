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
  // A mount asks about all its secrets in a row.
  let latest: { readonly instance: string; readonly keys: Set<string> } | undefined;

  function keysOf(instance: string): Set<string> | undefined {
    if (latest?.instance === instance) return latest.keys;
    const keys = byInstance.get(instance);
    latest = keys && { instance, keys };
    return keys;
  }

  return {
    has: (instance, key) => keysOf(instance)?.has(key) ?? false,
    add(instance, key) {
      let keys = keysOf(instance);
      if (keys === undefined) {
        keys = new Set();
        byInstance.set(instance, keys);
        latest = { instance, keys };
      }
      if (keys.size >= perInstance) keys.clear();
      keys.add(key);
    },
  };
}
