import { Counter, Gauge, type Registry } from 'prom-client';

/** The metrics of the secret cache. Labels are bounded: provider names and fixed words. */
export type CacheMetrics = {
  /** Reads from a store, by result: value, unchanged, absent, failed. */
  readonly reads: Counter<'provider' | 'result'>;
  /** Values served, by source: cache, store, fallback, last-good, deferred. */
  readonly served: Counter<'provider' | 'source'>;
  /** Events of leases: renewed, ended, released, lapsed (left to expire), failed. */
  readonly leases: Counter<'provider' | 'result'>;
};

/** Declares the cache's metrics. `bytes` is called when they are collected. */
export function createCacheMetrics(registry: Registry, bytes: () => number): CacheMetrics {
  const registers = [registry];
  new Gauge({
    name: 'keyferry_cache_bytes',
    help: 'Bytes of cached secrets.',
    registers,
    collect() {
      this.set(bytes());
    },
  });
  return {
    reads: new Counter({
      name: 'keyferry_store_reads_total',
      help: 'Reads from a store, by result.',
      labelNames: ['provider', 'result'],
      registers,
    }),
    served: new Counter({
      name: 'keyferry_secrets_served_total',
      help:
        'Secrets served to mounts, by source. last-good: the store did not respond; ' +
        'deferred: the rate limit of Keyferry was reached.',
      labelNames: ['provider', 'source'],
      registers,
    }),
    leases: new Counter({
      name: 'keyferry_lease_events_total',
      help: 'Events of leases, by result.',
      labelNames: ['provider', 'result'],
      registers,
    }),
  };
}
