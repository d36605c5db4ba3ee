import { LRUCache } from 'lru-cache';
import { upTo } from '../concurrency/time.ts';
import { type SecretRef, refKey } from '../core/plan.ts';
import type { Grant, Principal, SecretValue } from '../core/provider.ts';

/** See {@link createEntryKeys}. */
export type EntryKeys = {
  /** Principal and ref: what the store is asked, by whom. */
  question(grant: Grant): string;
  /** Where the answer to this grant is kept now. */
  entry(grant: Grant): string;
  /** Every place where one may still be kept: what is known of sharing can have changed since. */
  places(grant: Grant): readonly string[];
  /** Takes in whether an answer may be shared. */
  learn(grant: Grant, value: SecretValue): void;
};

/**
 * The keys of cached answers. For a grant of pod scope it is the pod's own, until an answer has said that it may be shared, and again as
 * soon as one does not: whether a path leases is known from its answers alone. What is forgotten begins with the pod again.
 */
export function createEntryKeys(max = 10_000): EntryKeys {
  const shareable = new LRUCache<string, true>(upTo(max));
  // Providers keep their principals and plans are kept, so a mount that is repeated builds no key anew.
  const questions = new WeakMap<Principal, WeakMap<SecretRef, string>>();
  const question = ({ principal, ref }: Grant): string => {
    let byRef = questions.get(principal);
    if (byRef === undefined) questions.set(principal, (byRef = new WeakMap()));
    let key = byRef.get(ref);
    if (key === undefined) byRef.set(ref, (key = principal.fingerprint + refKey(ref)));
    return key;
  };
  const own = (grant: Grant): string => `${question(grant)}@${grant.workload.instance}`;
  return {
    question,
    entry(grant) {
      return grant.scope === 'pod' && !shareable.has(question(grant)) ? own(grant) : question(grant);
    },
    places(grant) {
      return grant.scope === 'pod' ? [question(grant), own(grant)] : [question(grant)];
    },
    learn(grant, value) {
      if (grant.scope === 'principal') return;
      if (isShareable(value)) shareable.set(question(grant), true);
      else shareable.delete(question(grant));
    },
  };
}

/** Whether an answer to a question of pod scope may serve every workload of its principal. A lease never does. */
export function isShareable(value: SecretValue): boolean {
  return value.shareable === true && value.lease === undefined;
}

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
