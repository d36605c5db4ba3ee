import { SecretError } from '../core/errors.ts';
import type { Grant, Provider } from '../core/provider.ts';
import type { Answer } from './freshness.ts';

/** One cached answer. */
export type Entry = Answer & {
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

/** See {@link createCache}. */
export type Cache = {
  get(key: string): Entry | undefined;
  /** Notes that an entry was asked for at `at`, in milliseconds; the order of use is kept to the second. `again`: by who has been served with it. */
  asked(entry: Entry, at: number, again: boolean): void;
  /** Puts an entry in the place of the one with its key. @throws SecretError LEASES_EXHAUSTED; the cache is then as before. */
  put(entry: Entry): void;
  drop(key: string): void;
  /** Nobody could ask for so many milliseconds before `at`, or the clock was set by them: who asked before has done so later by as much. */
  leapt(at: number, ms: number): void;
  /** All entries, for the lease clock and the sweep. */
  entries(): IterableIterator<Entry>;
  /** Bytes it counts. */
  readonly bytes: number;
  /** When the latest republish of any workload came, in milliseconds; -Infinity: none has. */
  readonly republishedAt: number;
};

/** Milliseconds; the kubelet's own republishes are a minute apart and more. */
const soonestRepublish = 30_000;

type Share = { bytes: number; leased: number; readonly entries: Map<string, Entry> };

/**
 * Answers by key, bounded in bytes. When it is full, the least recently used answer of the namespace that holds most goes,
 * so that no namespace keeps more than a quarter while another needs the room. Leased values are never evicted: dropping one would lose
 * a credential that lives on. They may fill a quarter for each namespace, and the whole for all; the next one is refused.
 */
export function createCache({ maxBytes }: { readonly maxBytes: number }): Cache {
  const index = new Map<string, Entry>();
  const shares = new Map<string, Share>();
  let bytes = 0;
  let leased = 0;
  let republishedAt = -Infinity;

  const remove = (entry: Entry): void => {
    const share = shareOf(entry);
    index.delete(entry.key);
    share.entries.delete(entry.key);
    account(share, entry, -1);
    if (share.entries.size === 0) shares.delete(entry.grant.workload.namespace);
  };

  const shareOf = (entry: Entry): Share => {
    const { namespace } = entry.grant.workload;
    let share = shares.get(namespace);
    if (share === undefined) {
      share = { bytes: 0, leased: 0, entries: new Map() };
      shares.set(namespace, share);
    }
    return share;
  };

  const account = (share: Share, entry: Entry, sign: 1 | -1): void => {
    bytes += sizeOf(entry) * sign;
    share.bytes += sizeOf(entry) * sign;
    leased += leasedSize(entry) * sign;
    share.leased += leasedSize(entry) * sign;
  };

  const evictOne = (): boolean => {
    const largestFirst = [...shares.values()].sort((a, b) => b.bytes - a.bytes);
    for (const share of largestFirst) {
      for (const entry of share.entries.values()) {
        if (entry.value?.lease === undefined) {
          remove(entry);
          return true;
        }
      }
    }
    return false;
  };

  const checkLease = (entry: Entry, previous: Entry | undefined): void => {
    if (entry.value?.lease === undefined) return;
    const { namespace } = entry.grant.workload;
    const size = sizeOf(entry);
    const freed = previous === undefined ? 0 : leasedSize(previous);
    const freedHere = previous?.grant.workload.namespace === namespace ? freed : 0;
    if ((shares.get(namespace)?.leased ?? 0) - freedHere + size > maxBytes / 4) {
      throw exhausted(`namespace ${namespace} holds`);
    }
    if (leased - freed + size > maxBytes) throw exhausted('the pods of this node hold');
  };

  return {
    get: (key) => index.get(key),
    asked(entry, at, again) {
      if (Math.abs(at - entry.requestedAt) >= 1_000) {
        const { entries } = shareOf(entry);
        entries.delete(entry.key);
        entries.set(entry.key, entry);
      }
      if (again && at - entry.requestedAt >= soonestRepublish) {
        entry.republished = true;
        republishedAt = at;
      }
      entry.requestedAt = at;
    },
    put(entry) {
      const previous = index.get(entry.key);
      checkLease(entry, previous);
      if (previous !== undefined) remove(previous);
      const share = shareOf(entry);
      index.set(entry.key, entry);
      share.entries.set(entry.key, entry);
      account(share, entry, 1);
      while (bytes > maxBytes && evictOne());
    },
    drop(key) {
      const entry = index.get(key);
      if (entry !== undefined) remove(entry);
    },
    leapt(at, ms) {
      const moved = (time: number): number => Math.min(at, time + Math.max(0, ms));
      for (const entry of index.values()) entry.requestedAt = moved(entry.requestedAt);
      republishedAt = moved(republishedAt);
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

function exhausted(holder: string): SecretError {
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
