import type { WorkloadKey, WorkloadMemory, WorkloadPart } from '../concurrency/workload-memory.ts';

const maxKeysPerWorkload = 1_000;
/** What a key takes in a set, beside its characters. */
const keyBytes = 64;

/**
 * Which secrets this process has already delivered to which workload. A request for one of them is
 * a republish. A forgotten delivery costs one additional read.
 */
export class DeliveryHistory {
  readonly #keysByWorkload: WorkloadPart<Set<string>>;
  readonly #maxKeys: number;
  /** A mount looks up all its secrets in a row. */
  #latest: { readonly workload: WorkloadKey; readonly keys: Set<string> } | undefined;

  constructor(memory: WorkloadMemory, { maxKeys = maxKeysPerWorkload } = {}) {
    this.#keysByWorkload = memory.createPart();
    this.#maxKeys = maxKeys;
  }

  has(workload: WorkloadKey, key: string): boolean {
    return this.#keysOf(workload)?.has(key) ?? false;
  }

  add(workload: WorkloadKey, key: string): void {
    const keys = this.#keysOf(workload) ?? new Set<string>();
    if (keys.has(key)) return;
    if (keys.size >= this.#maxKeys) keys.clear();
    keys.add(key);
    this.#keysByWorkload.set(workload, keys, keys.size * (keyBytes + key.length));
    this.#latest = { workload, keys };
  }

  #keysOf(workload: WorkloadKey): Set<string> | undefined {
    if (this.#latest?.workload === workload) return this.#latest.keys;
    const keys = this.#keysByWorkload.get(workload);
    this.#latest = keys && { workload, keys };
    return keys;
  }
}
