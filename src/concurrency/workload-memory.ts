import type { Workload } from '../core/workload.ts';

/** Whether a workload's instance still runs. `unknown`: its pod is not watched. */
export type Presence = (instance: string) => 'here' | 'gone' | 'unknown';

/** Who the state is about. */
export type WorkloadKey = Pick<Workload, 'tenant' | 'instance'>;

/** What one part keeps of a workload, and about how many bytes of the heap it takes. */
type PartState = { state: unknown; bytes: number };
type WorkloadRecord = { readonly states: Map<symbol, PartState>; bytes: number };

/** The state that one part keeps for each workload. */
export type WorkloadPart<T> = {
  /** The state of a workload, which counts as used now. */
  get(workload: WorkloadKey): T | undefined;
  /** @param bytes about what the state takes of the heap */
  set(workload: WorkloadKey, state: T, bytes: number): void;
  /** All states, in no particular order. */
  values(): Iterable<T>;
};

/** What a record takes beside the states in it. */
const recordBytes = 512;

/**
 * One account of what all parts remember about workloads, with one bound in bytes. When it is full,
 * the state of workloads that have left goes first. Then the namespace that takes the most gives up
 * its least recently used workload, so that no namespace makes Keyferry forget the others.
 */
export class WorkloadMemory {
  readonly #maxBytes: number;
  readonly #presence: Presence;
  /** The last used workload of each namespace is at the end. */
  readonly #byTenant = new Map<string, Map<string, WorkloadRecord>>();
  readonly #bytesByTenant = new Map<string, number>();
  #bytes = 0;

  /** @param options.maxBytes default 12 MiB: some 4,000 workloads with five secrets each */
  constructor({
    maxBytes = 12 * 1024 * 1024,
    presence = () => 'unknown',
  }: { readonly maxBytes?: number; readonly presence?: Presence } = {}) {
    this.#maxBytes = maxBytes;
    this.#presence = presence;
  }

  /** Bytes of all states. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Declares the state of a part. */
  createPart<T>(): WorkloadPart<T> {
    const part = Symbol();
    return {
      get: (workload) => this.#use(workload)?.states.get(part)?.state as T | undefined,
      set: (workload, state, bytes) => this.#set(workload, part, { state, bytes }),
      values: () => this.#valuesOf(part) as Iterable<T>,
    };
  }

  #use({ tenant, instance }: WorkloadKey): WorkloadRecord | undefined {
    const records = this.#byTenant.get(tenant);
    const record = records?.get(instance);
    if (records === undefined || record === undefined) return undefined;
    records.delete(instance);
    records.set(instance, record);
    return record;
  }

  #set(workload: WorkloadKey, part: symbol, partState: PartState): void {
    const { tenant } = workload;
    const record = this.#use(workload) ?? this.#create(workload);
    const grownBy = partState.bytes - (record.states.get(part)?.bytes ?? 0);
    record.states.set(part, partState);
    record.bytes += grownBy;
    this.#count(tenant, grownBy);
    if (this.#bytes > this.#maxBytes) this.#makeRoom(workload);
  }

  #create({ tenant, instance }: WorkloadKey): WorkloadRecord {
    const record: WorkloadRecord = { states: new Map(), bytes: recordBytes };
    let records = this.#byTenant.get(tenant);
    if (records === undefined) {
      records = new Map();
      this.#byTenant.set(tenant, records);
    }
    records.set(instance, record);
    this.#count(tenant, recordBytes);
    return record;
  }

  /** Frees a tenth more than necessary, so that the search for what to forget is rare. */
  #makeRoom(current: WorkloadKey): void {
    const wanted = this.#maxBytes * 0.9;
    for (const [tenant, records] of this.#byTenant)
      for (const instance of records.keys())
        if (instance !== current.instance && this.#presence(instance) === 'gone')
          this.#remove(tenant, instance);
    while (this.#bytes > wanted) {
      const [tenant] = [...this.#bytesByTenant].reduce((one, other) =>
        other[1] > one[1] ? other : one,
      );
      const [instance] = this.#byTenant.get(tenant)?.keys() ?? [];
      // The state that was just set stays, however large it is.
      if (instance === undefined || (tenant === current.tenant && instance === current.instance))
        return;
      this.#remove(tenant, instance);
    }
  }

  #remove(tenant: string, instance: string): void {
    const records = this.#byTenant.get(tenant);
    const record = records?.get(instance);
    if (records === undefined || record === undefined) return;
    records.delete(instance);
    this.#count(tenant, -record.bytes);
    if (records.size > 0) return;
    this.#byTenant.delete(tenant);
    this.#bytesByTenant.delete(tenant);
  }

  #count(tenant: string, bytes: number): void {
    this.#bytes += bytes;
    this.#bytesByTenant.set(tenant, (this.#bytesByTenant.get(tenant) ?? 0) + bytes);
  }

  *#valuesOf(part: symbol): Iterable<unknown> {
    for (const records of this.#byTenant.values())
      for (const { states } of records.values()) {
        const partState = states.get(part);
        if (partState !== undefined) yield partState.state;
      }
  }
}
