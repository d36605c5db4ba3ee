import { LRUCache } from 'lru-cache';

/** In tenths of a retry, so that sums stay exact. */
const earnedPerCall = 1;
const cost = 10;
/** One namespace has ten retries at once. So it cannot use up those of its endpoint alone. */
const full = { namespace: 100, endpoint: 300 };
const maxBuckets = 1_000;

type Bucket = { tenths: number };

/**
 * Limits quick retries with one token bucket for each endpoint, and one for each namespace at an
 * endpoint. A store in trouble gets at most a tenth more calls than without retries.
 */
export class RetryBudget {
  readonly #endpoints = new LRUCache<string, Bucket>({ max: maxBuckets });
  readonly #namespaces = new LRUCache<string, Bucket>({ max: maxBuckets });

  /** A call is made: each earns a tenth of a retry. */
  earn(endpoint: string, namespace: string): void {
    const buckets = this.#bucketsOf(endpoint, namespace);
    buckets.endpoint.tenths = Math.min(full.endpoint, buckets.endpoint.tenths + earnedPerCall);
    buckets.namespace.tenths = Math.min(full.namespace, buckets.namespace.tenths + earnedPerCall);
  }

  /** Takes a retry from both buckets. @returns false, and takes nothing, if one of them has none */
  spend(endpoint: string, namespace: string): boolean {
    const buckets = this.#bucketsOf(endpoint, namespace);
    if (buckets.endpoint.tenths < cost || buckets.namespace.tenths < cost) return false;
    buckets.endpoint.tenths -= cost;
    buckets.namespace.tenths -= cost;
    return true;
  }

  #bucketsOf(endpoint: string, namespace: string): Record<'endpoint' | 'namespace', Bucket> {
    return {
      endpoint: bucketOf(this.#endpoints, endpoint, full.endpoint),
      namespace: bucketOf(this.#namespaces, JSON.stringify([endpoint, namespace]), full.namespace),
    };
  }
}

function bucketOf(buckets: LRUCache<string, Bucket>, key: string, tenths: number): Bucket {
  const existing = buckets.get(key);
  if (existing !== undefined) return existing;
  const created = { tenths };
  buckets.set(key, created);
  return created;
}
