import { SecretError } from '../core/errors.ts';
import type { Grant, Provider } from '../core/provider.ts';
import type { CachedResult } from './freshness.ts';

/** One cached answer. */
export type Entry = CachedResult & {
  readonly key: string;
  readonly provider: Provider;
  /** By whose request it came: its principal renews the lease, its namespace bears the cost. */
  readonly grant: Grant;
  /** When somebody last asked for it. */
  requestedAt: number;
  /**
   * It was asked for again by who had been served, and long enough after the first time not to belong to the same start of a workload: the driver
   * rotates. What a mount asks for that failed before, and another workload, tell nothing of that.
   */
  republished?: boolean;
  /** Its lease is not to be renewed before: a renewal is under way, or has just failed. */
  renewAfter?: number;
};

/** See {@link createEntryCache}. */
export type EntryCache = {
  get(key: string): Entry | undefined;
  /** Notes that an entry was asked for at `at`, in milliseconds; the order of use is kept to the second. `again`: by who has been served with it. */
  touch(entry: Entry, at: number, alreadyDelivered: boolean): void;
  /** Puts an entry in the place of the one with its key. @throws SecretError LEASES_EXHAUSTED; the cache is then as before. */
  put(entry: Entry): void;
  drop(key: string): void;
  /** Nobody could ask for so many milliseconds before `at`, or the clock was set by them: who asked before has done so later by as much. */
  adjustForClockJump(at: number, ms: number): void;
  /** All entries, for the lease clock and the sweep. */
  entries(): IterableIterator<Entry>;
  /** Bytes it counts. */
  readonly bytes: number;
  /** When the latest republish of any workload came, in milliseconds; -Infinity: none has. */
  readonly republishedAt: number;
};

/** Milliseconds; the kubelet's own republishes are a minute apart and more. */
const minRepublishInterval = 30_000;

type NamespaceUsage = { bytes: number; leasedBytes: number; readonly entries: Map<string, Entry> };

/**
 * Answers by key, bounded in bytes. When it is full, the least recently used answer of the namespace that holds most goes,
 * so that no namespace keeps more than a quarter while another needs the room. Leased values are never evicted: dropping one would lose
 * a credential that lives on. They may fill a quarter for each namespace, and the whole for all; the next one is refused.
 */
export function createEntryCache({ maxBytes }: { readonly maxBytes: number }): EntryCache {
  const index = new Map<string, Entry>();
  const usageByNamespace = new Map<string, NamespaceUsage>();
  let bytes = 0;
  let leasedBytes = 0;
  let republishedAt = -Infinity;

  const remove = (entry: Entry): void => {
    const usage = usageOf(entry);
    index.delete(entry.key);
    usage.entries.delete(entry.key);
    adjustUsage(usage, entry, -1);
    if (usage.entries.size === 0) usageByNamespace.delete(entry.grant.workload.tenant);
  };

  const usageOf = (entry: Entry): NamespaceUsage => {
    const { tenant: namespace } = entry.grant.workload;
    let usage = usageByNamespace.get(namespace);
    if (usage === undefined) {
      usage = { bytes: 0, leasedBytes: 0, entries: new Map() };
      usageByNamespace.set(namespace, usage);
    }
    return usage;
  };

  const adjustUsage = (usage: NamespaceUsage, entry: Entry, sign: 1 | -1): void => {
    bytes += sizeOf(entry) * sign;
    usage.bytes += sizeOf(entry) * sign;
    leasedBytes += leasedSize(entry) * sign;
    usage.leasedBytes += leasedSize(entry) * sign;
  };

  const evictOne = (): boolean => {
    const largestFirst = [...usageByNamespace.values()].sort((a, b) => b.bytes - a.bytes);
    for (const usage of largestFirst) {
      for (const entry of usage.entries.values()) {
        if (entry.value?.lease === undefined) {
          remove(entry);
          return true;
        }
      }
    }
    return false;
  };

  const checkLeaseLimits = (entry: Entry, previous: Entry | undefined): void => {
    if (entry.value?.lease === undefined) return;
    const { tenant: namespace } = entry.grant.workload;
    const size = sizeOf(entry);
    const freedBytes = previous === undefined ? 0 : leasedSize(previous);
    const freedInNamespace = previous?.grant.workload.tenant === namespace ? freedBytes : 0;
    if (
      (usageByNamespace.get(namespace)?.leasedBytes ?? 0) - freedInNamespace + size >
      maxBytes / 4
    ) {
      throw leasesExhaustedError(`namespace ${namespace} holds`);
    }
    if (leasedBytes - freedBytes + size > maxBytes)
      throw leasesExhaustedError('the pods of this node hold');
  };

  return {
    get: (key) => index.get(key),
    touch(entry, at, alreadyDelivered) {
      if (Math.abs(at - entry.requestedAt) >= 1_000) {
        const { entries } = usageOf(entry);
        entries.delete(entry.key);
        entries.set(entry.key, entry);
      }
      if (alreadyDelivered && at - entry.requestedAt >= minRepublishInterval) {
        entry.republished = true;
        republishedAt = at;
      }
      entry.requestedAt = at;
    },
    put(entry) {
      const previous = index.get(entry.key);
      checkLeaseLimits(entry, previous);
      if (previous !== undefined) remove(previous);
      const usage = usageOf(entry);
      index.set(entry.key, entry);
      usage.entries.set(entry.key, entry);
      adjustUsage(usage, entry, 1);
      while (bytes > maxBytes && evictOne());
    },
    drop(key) {
      const entry = index.get(key);
      if (entry !== undefined) remove(entry);
    },
    adjustForClockJump(at, ms) {
      const shifted = (time: number): number => Math.min(at, time + Math.max(0, ms));
      for (const entry of index.values()) entry.requestedAt = shifted(entry.requestedAt);
      republishedAt = shifted(republishedAt);
    },
    entries: () => index.values(),
    get bytes() {
      return bytes;
    },
    get republishedAt() {
      return republishedAt;
    },
  };
}

function leasesExhaustedError(holder: string): SecretError {
  return new SecretError('LEASES_EXHAUSTED', `${holder} as many leased secrets as may be`, {
    hint: 'use fewer dynamic secrets in these pods, or give Keyferry a larger --cache-bytes',
  });
}

function leasedSize(entry: Entry): number {
  return entry.value?.lease === undefined ? 0 : sizeOf(entry);
}

/** Bytes an entry is counted as: content, texts at two bytes a character, and a fixed part for the objects around them. */
function sizeOf({ key, value }: Entry): number {
  return 512 + 2 * key.length + (value?.bytes.byteLength ?? 0) + 2 * (value?.document?.length ?? 0);
}
