import { SecretError } from '../core/errors.ts';
import type { Grant, Provider } from '../core/provider.ts';
import type { CachedResult } from './freshness.ts';

/** One cached result. */
export type Entry = CachedResult & {
  readonly key: string;
  readonly provider: Provider;
  /** The namespace that is charged the bytes. */
  readonly namespace: string;
  /** The workload that the entry serves alone; absent if it may serve others. */
  readonly instance?: string;
  /**
   * The grant of a leased value. Its principal renews and releases the lease. Other entries keep no
   * grant: it holds a workload and a principal, which take more memory than a small secret.
   */
  readonly grant?: Grant;
  /** When it was last requested. */
  requestedAt: number;
  /**
   * A workload that had already received it requested it again, and later than the requests of one
   * start of a workload come. So the driver rotates. A retried mount that failed before, and a
   * request of another workload, do not show that.
   */
  republished?: boolean;
  /** Its lease is not renewed before this time: a renewal is in flight, or has just failed. */
  renewAfter?: number;
};

/** An entry whose value has a lease. */
export type LeasedEntry = Entry & { readonly grant: Grant };

/** Milliseconds. The kubelet republishes a volume at most once a minute. */
const minRepublishIntervalMs = 30_000;

type NamespaceUsage = { bytes: number; leasedBytes: number; readonly entries: Map<string, Entry> };

/**
 * Cached results by key, bounded in bytes. When the cache is full, it evicts the least recently
 * used entry of the namespace that holds most bytes. So no namespace keeps more than a quarter
 * while another one needs the space.
 *
 * Leased values are never evicted, because the credential would live on without its lease. They may
 * fill a quarter of the cache per namespace, and the whole cache in total. The next leased value is
 * refused.
 */
export class EntryCache {
  readonly #maxBytes: number;
  readonly #entries = new Map<string, Entry>();
  readonly #usageByNamespace = new Map<string, NamespaceUsage>();
  #bytes = 0;
  #leasedBytes = 0;
  #republishedAt = -Infinity;

  constructor({ maxBytes }: { readonly maxBytes: number }) {
    this.#maxBytes = maxBytes;
  }

  /** The bytes that the entries count for. */
  get bytes(): number {
    return this.#bytes;
  }

  /** When any workload last republished, in milliseconds; -Infinity if none has. */
  get republishedAt(): number {
    return this.#republishedAt;
  }

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  /** All entries, for the lease manager. */
  entries(): IterableIterator<Entry> {
    return this.#entries.values();
  }

  /**
   * Records that an entry was requested at `at`, in milliseconds. The order of use has a resolution
   * of one second. `alreadyDelivered`: the requesting workload has received it before.
   */
  touch(entry: Entry, at: number, alreadyDelivered: boolean): void {
    if (Math.abs(at - entry.requestedAt) >= 1_000) {
      const { entries } = this.#usageOf(entry);
      entries.delete(entry.key);
      entries.set(entry.key, entry);
    }
    if (alreadyDelivered && at - entry.requestedAt >= minRepublishIntervalMs) {
      entry.republished = true;
      this.#republishedAt = at;
    }
    entry.requestedAt = at;
  }

  /**
   * Adds an entry, or replaces the entry with its key.
   * @throws SecretError LEASES_EXHAUSTED; the cache is then unchanged
   */
  put(entry: Entry): void {
    const previous = this.#entries.get(entry.key);
    this.#checkLeaseLimits(entry, previous);
    if (previous !== undefined) this.#remove(previous);
    const usage = this.#usageOf(entry);
    this.#entries.set(entry.key, entry);
    usage.entries.set(entry.key, entry);
    this.#adjustUsage(usage, entry, 1);
    while (this.#bytes > this.#maxBytes && this.#evictOne());
  }

  /** The entry has to be read again before it serves. */
  expire(key: string): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined) this.put({ ...entry, freshUntil: 0 });
  }

  drop(key: string): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined) this.#remove(entry);
  }

  /**
   * Moves the times of the last requests forward by `ms`, up to `at`. To be called when the clock
   * was set, or when no request could come for `ms` milliseconds before `at`.
   */
  adjustForClockJump(at: number, ms: number): void {
    const shifted = (time: number): number => Math.min(at, time + Math.max(0, ms));
    for (const entry of this.#entries.values()) entry.requestedAt = shifted(entry.requestedAt);
    this.#republishedAt = shifted(this.#republishedAt);
  }

  #remove(entry: Entry): void {
    const usage = this.#usageOf(entry);
    this.#entries.delete(entry.key);
    usage.entries.delete(entry.key);
    this.#adjustUsage(usage, entry, -1);
    if (usage.entries.size === 0) this.#usageByNamespace.delete(entry.namespace);
  }

  #usageOf(entry: Entry): NamespaceUsage {
    const { namespace } = entry;
    let usage = this.#usageByNamespace.get(namespace);
    if (usage === undefined) {
      usage = { bytes: 0, leasedBytes: 0, entries: new Map() };
      this.#usageByNamespace.set(namespace, usage);
    }
    return usage;
  }

  #adjustUsage(usage: NamespaceUsage, entry: Entry, sign: 1 | -1): void {
    this.#bytes += sizeOf(entry) * sign;
    usage.bytes += sizeOf(entry) * sign;
    this.#leasedBytes += leasedSize(entry) * sign;
    usage.leasedBytes += leasedSize(entry) * sign;
  }

  #evictOne(): boolean {
    const largestFirst = [...this.#usageByNamespace.values()].sort((a, b) => b.bytes - a.bytes);
    for (const usage of largestFirst) {
      for (const entry of usage.entries.values()) {
        if (entry.value?.lease === undefined) {
          this.#remove(entry);
          return true;
        }
      }
    }
    return false;
  }

  #checkLeaseLimits(entry: Entry, previous: Entry | undefined): void {
    if (entry.value?.lease === undefined) return;
    const { namespace } = entry;
    const size = sizeOf(entry);
    const freedBytes = previous === undefined ? 0 : leasedSize(previous);
    const freedInNamespace = previous?.namespace === namespace ? freedBytes : 0;
    const leasedInNamespace = this.#usageByNamespace.get(namespace)?.leasedBytes ?? 0;
    if (leasedInNamespace - freedInNamespace + size > this.#maxBytes / 4)
      throw leasesExhaustedError(`namespace ${namespace} holds`);
    if (this.#leasedBytes - freedBytes + size > this.#maxBytes)
      throw leasesExhaustedError('the pods of this node hold');
  }
}

function leasesExhaustedError(holder: string): SecretError {
  return new SecretError(
    'LEASES_EXHAUSTED',
    `${holder} as many leased secrets as the cache allows`,
    {
      hint: 'use fewer dynamic secrets in these pods, or give Keyferry a larger --cache-bytes',
    },
  );
}

function leasedSize(entry: Entry): number {
  return entry.value?.lease === undefined ? 0 : sizeOf(entry);
}

/**
 * The objects of an entry: entry, value, buffer, keys and map entries. A heap snapshot shows
 * 1.1 KiB. It counts twice: it is on the heap, which is smaller than the memory for contents.
 */
const entryOverhead = 2_048;
/** The grant of a leased value, with its workload and its principal. */
const grantOverhead = 4_096;

/** What an entry takes in memory: its objects, its content, and two bytes per character of text. */
function sizeOf({ key, value, grant }: Entry): number {
  return (
    entryOverhead +
    (grant === undefined ? 0 : grantOverhead) +
    2 * key.length +
    (value?.bytes.byteLength ?? 0) +
    2 * (value?.document?.length ?? 0)
  );
}
