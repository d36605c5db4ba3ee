import type { WorkloadKey, WorkloadMemory, WorkloadPart } from '../concurrency/workload-memory.ts';

const maxKeysPerWorkload = 1_000;
/** What a key takes in a set, beside its characters. */
const keyBytes = 64;

type DeliveredKeys = { readonly keys: Set<string>; bytes: number };

/**
 * Which secrets this process has already delivered to which workload. A request for one of them is
 * a republish. A forgotten delivery costs one additional read.
 */
export class DeliveryHistory {
  readonly #deliveredByWorkload: WorkloadPart<DeliveredKeys>;
  readonly #maxKeys: number;
  /** A mount looks up all its secrets in a row. */
  #latest: { readonly workload: WorkloadKey; readonly delivered: DeliveredKeys } | undefined;

  constructor(memory: WorkloadMemory, { maxKeys = maxKeysPerWorkload } = {}) {
    this.#deliveredByWorkload = memory.createPart();
    this.#maxKeys = maxKeys;
  }

  has(workload: WorkloadKey, key: string): boolean {
    return this.#deliveredTo(workload)?.keys.has(key) ?? false;
  }

  add(workload: WorkloadKey, key: string): void {
    let delivered = this.#deliveredTo(workload);
    if (delivered?.keys.has(key)) return;
    if (delivered === undefined || delivered.keys.size >= this.#maxKeys)
      delivered = { keys: new Set(), bytes: 0 };
    delivered.keys.add(key);
    delivered.bytes += keyBytes + key.length;
    this.#deliveredByWorkload.set(workload, delivered, delivered.bytes);
    this.#latest = { workload, delivered };
  }

  #deliveredTo(workload: WorkloadKey): DeliveredKeys | undefined {
    if (this.#latest?.workload === workload) return this.#latest.delivered;
    const delivered = this.#deliveredByWorkload.get(workload);
    this.#latest = delivered && { workload, delivered };
    return delivered;
  }
}
