import { LRUCache } from 'lru-cache';

/**
 * Which secrets this process has already delivered to which workload. A request for one of them is
 * a republish. A forgotten delivery costs one additional read, so a simple bound is enough.
 */
export class DeliveryHistory {
  readonly #maxKeysPerInstance: number;
  readonly #byInstance: LRUCache<string, Set<string>>;
  /** A mount looks up all its secrets in a row. */
  #latest: { readonly instance: string; readonly keys: Set<string> } | undefined;

  constructor({ maxInstances = 2_000, maxKeysPerInstance = 1_000 } = {}) {
    this.#maxKeysPerInstance = maxKeysPerInstance;
    this.#byInstance = new LRUCache({ max: maxInstances });
  }

  has(instance: string, key: string): boolean {
    return this.#keysOf(instance)?.has(key) ?? false;
  }

  add(instance: string, key: string): void {
    let keys = this.#keysOf(instance);
    if (keys === undefined) {
      keys = new Set();
      this.#byInstance.set(instance, keys);
      this.#latest = { instance, keys };
    }
    if (keys.size >= this.#maxKeysPerInstance) keys.clear();
    keys.add(key);
  }

  #keysOf(instance: string): Set<string> | undefined {
    if (this.#latest?.instance === instance) return this.#latest.keys;
    const keys = this.#byInstance.get(instance);
    this.#latest = keys && { instance, keys };
    return keys;
  }
}
