import { LRUCache } from 'lru-cache';
import { lruSizeLimit } from '../concurrency/lru-size-limit.ts';
import { type SecretRef, refKey } from '../core/plan.ts';
import type { Grant, Principal, SecretValue } from '../core/provider.ts';

/**
 * The cache keys of grants. A grant of pod scope has a key of its pod, until a response is
 * shareable. Then all grants of that principal and ref share one key, until a response is not
 * shareable: only the responses show whether a Vault path issues leases. A forgotten request has
 * the pod's key again.
 */
export class EntryKeys {
  readonly #shareableRequests: LRUCache<string, true>;
  // Providers keep their principals and the plan cache keeps refs, so a repeated mount makes no
  // keys.
  readonly #requestKeys = new WeakMap<Principal, WeakMap<SecretRef, string>>();

  /** @param options.max how many shareable requests are remembered */
  constructor({ max = 10_000 }: { readonly max?: number } = {}) {
    this.#shareableRequests = new LRUCache(lruSizeLimit(max));
  }

  /** The key of the ref and the principal that reads it. */
  requestKey({ principal, ref }: Grant): string {
    let byRef = this.#requestKeys.get(principal);
    if (byRef === undefined) this.#requestKeys.set(principal, (byRef = new WeakMap()));
    let key = byRef.get(ref);
    if (key === undefined) byRef.set(ref, (key = principal.fingerprint + refKey(ref)));
    return key;
  }

  /** The key under which the grant's result is cached now. */
  entryKey(grant: Grant): string {
    return grant.scope === 'pod' && !this.#shareableRequests.has(this.requestKey(grant))
      ? this.#podEntryKey(grant)
      : this.requestKey(grant);
  }

  /** All keys under which a result may be cached, since its shareability may have changed. */
  possibleEntryKeys(grant: Grant): readonly string[] {
    const requestKey = this.requestKey(grant);
    return grant.scope === 'pod' ? [requestKey, this.#podEntryKey(grant)] : [requestKey];
  }

  recordShareability(grant: Grant, value: SecretValue): void {
    if (grant.scope === 'principal') return;
    if (isShareable(value)) this.#shareableRequests.set(this.requestKey(grant), true);
    else this.#shareableRequests.delete(this.requestKey(grant));
  }

  #podEntryKey(grant: Grant): string {
    return `${this.requestKey(grant)}@${grant.workload.instance}`;
  }
}

/**
 * Whether a value read for pod scope may serve all workloads of its principal. A lease never does.
 */
export function isShareable(value: SecretValue): boolean {
  return value.shareable === true && value.lease === undefined;
}
