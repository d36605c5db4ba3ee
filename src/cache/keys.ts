import { LRUCache } from 'lru-cache';
import { lruSizeLimit } from '../concurrency/time.ts';
import { type SecretRef, refKey } from '../core/plan.ts';
import type { Grant, Principal, SecretValue } from '../core/provider.ts';

/** See {@link createEntryKeys}. */
export type EntryKeys = {
  /** Principal and ref: what the store is asked, by whom. */
  requestKey(grant: Grant): string;
  /** Where the answer to this grant is kept now. */
  entryKey(grant: Grant): string;
  /** Every place where one may still be kept: what is known of sharing can have changed since. */
  possibleEntryKeys(grant: Grant): readonly string[];
  /** Takes in whether an answer may be shared. */
  recordShareability(grant: Grant, value: SecretValue): void;
};

/**
 * The keys of cached answers. For a grant of pod scope it is the pod's own, until an answer has said that it may be shared, and again as
 * soon as one does not: whether a path leases is known from its answers alone. What is forgotten begins with the pod again.
 */
export function createEntryKeys(max = 10_000): EntryKeys {
  const shareableRequests = new LRUCache<string, true>(lruSizeLimit(max));
  // Providers keep their principals and plans are kept, so a mount that is repeated builds no key anew.
  const requestKeys = new WeakMap<Principal, WeakMap<SecretRef, string>>();
  const requestKey = ({ principal, ref }: Grant): string => {
    let byRef = requestKeys.get(principal);
    if (byRef === undefined) requestKeys.set(principal, (byRef = new WeakMap()));
    let key = byRef.get(ref);
    if (key === undefined) byRef.set(ref, (key = principal.fingerprint + refKey(ref)));
    return key;
  };
  const podEntryKey = (grant: Grant): string => `${requestKey(grant)}@${grant.workload.instance}`;
  return {
    requestKey,
    entryKey(grant) {
      return grant.scope === 'pod' && !shareableRequests.has(requestKey(grant))
        ? podEntryKey(grant)
        : requestKey(grant);
    },
    possibleEntryKeys(grant) {
      return grant.scope === 'pod' ? [requestKey(grant), podEntryKey(grant)] : [requestKey(grant)];
    },
    recordShareability(grant, value) {
      if (grant.scope === 'principal') return;
      if (isShareable(value)) shareableRequests.set(requestKey(grant), true);
      else shareableRequests.delete(requestKey(grant));
    },
  };
}

/** Whether an answer to a question of pod scope may serve every workload of its principal. A lease never does. */
export function isShareable(value: SecretValue): boolean {
  return value.shareable === true && value.lease === undefined;
}

/** See {@link createDeliveryHistory}. */
export type DeliveryHistory = {
  has(instance: string, key: string): boolean;
  add(instance: string, key: string): void;
};

/**
 * Which workload has already been served which secret by this process: what makes a request a republish. Forgetting costs one
 * further read, so both bounds are generous for a node and nothing more.
 */
export function createDeliveryHistory({
  maxInstances = 2_000,
  maxKeysPerInstance = 1_000,
} = {}): DeliveryHistory {
  const byInstance = new LRUCache<string, Set<string>>({ max: maxInstances });
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
      if (keys.size >= maxKeysPerInstance) keys.clear();
      keys.add(key);
    },
  };
}
