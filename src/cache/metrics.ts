import { Counter, Gauge, type Registry } from 'prom-client';

/** What the store counts. Labels are bounded: providers and fixed words. */
export type CacheMetrics = {
  /** Questions put to a store, by what came of them: value, unchanged, absent, failed. */
  readonly reads: Counter<'provider' | 'result'>;
  /** Values served, by where they came from: cache, store, fallback, last-good, deferred. */
  readonly served: Counter<'provider' | 'source'>;
  /** Leases by what became of them: renewed, ended, released, lapsed (left to their end), failed. */
  readonly leases: Counter<'provider' | 'result'>;
};

/** Declares the store's metrics; `bytes` is read when they are collected. */
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
      help: 'Questions put to a store, by result.',
      labelNames: ['provider', 'result'],
      registers,
    }),
    served: new Counter({
      name: 'keyferry_secrets_served_total',
      help: 'Secrets served to mounts, by source; last-good: the store did not answer, deferred: our own rate budget was spent.',
      labelNames: ['provider', 'source'],
      registers,
    }),
    leases: new Counter({
      name: 'keyferry_lease_events_total',
      help: 'What became of leases.',
      labelNames: ['provider', 'result'],
      registers,
    }),
  };
}
