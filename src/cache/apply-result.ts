import { SecretError } from '../core/errors.ts';
import type { FetchResult, Grant, Provider, SecretValue } from '../core/provider.ts';
import type { Cache, Entry } from './entries.ts';
import { type Answer, type FreshnessOptions, freshUntil } from './freshness.ts';
import type { Landing } from './in-flight-reads.ts';
import type { EntryKeys } from './keys.ts';
import type { LeaseClock } from './leases.ts';
import type { StoreMetrics } from './metrics.ts';

/** What {@link createFiling} needs. */
export type FilingDeps = {
  readonly cache: Cache;
  readonly keys: EntryKeys;
  readonly leases: LeaseClock;
  readonly metrics: StoreMetrics;
  readonly freshness: (provider: string) => FreshnessOptions;
  readonly now: () => number;
  readonly random: () => number;
};

/** See {@link createFiling}. */
export type Filing = {
  /** Makes the landing of one question; `known` is the value that was shown to the store with it. */
  landing(provider: Provider, grant: Grant, known: SecretValue | undefined): Landing;
  /** Takes in an answer that nobody waited for any more: it serves nobody, but a no is a no, and a lease is given back. */
  stray(provider: Provider, grant: Grant, result: FetchResult): void;
};

/** What the store's answers do to the cache. */
export function createFiling(deps: FilingDeps): Filing {
  const { cache, keys, leases, metrics, freshness, now, random } = deps;

  const forget = (grant: Grant): void => {
    for (const key of keys.places(grant)) cache.drop(key);
  };

  const landing: Filing['landing'] = (provider, grant, known) => {
    const askedUnder = keys.entry(grant);

    const file = (result: FetchResult, askedAt: number, answer: Omit<Answer, 'freshUntil'>): FetchResult => {
      const { refreshInterval } = freshness(provider.name);
      const until = freshUntil(grant.ref, answer.value, askedAt, refreshInterval, random());
      if (answer.value !== undefined) keys.learn(grant, answer.value);
      // What was learnt can have moved the place where this answer belongs.
      const key = keys.entry(grant);
      if (key !== askedUnder) cache.drop(askedUnder);
      const republished = cache.get(key)?.republished ?? false;
      const requestedAt = now();
      try {
        cache.put({
          key,
          provider,
          grant: bare(grant),
          requestedAt,
          republished,
          freshUntil: until,
          ...answer,
        });
        return result;
      } catch (error) {
        leases.giveBack(provider, grant, result);
        return { kind: 'failed', error: error as SecretError };
      }
    };

    return (result, askedAt) => {
      metrics.reads.inc({ provider: provider.name, result: result.kind });
      switch (result.kind) {
        case 'value':
          return file(result, askedAt, { value: result.value, deliveredAt: askedAt });
        case 'absent':
          forget(grant);
          return file(result, askedAt, { absence: result.error, deliveredAt: askedAt });
        case 'unchanged': {
          if (known === undefined) return { kind: 'failed', error: answeredTheUnknown(provider) };
          // Meanwhile it may have been denied, or its lease renewed or ended: only what is still there is confirmed.
          const still = confirmed(cache.get(askedUnder), result, askedAt);
          return still === undefined ? result : file(result, askedAt, still);
        }
        case 'failed':
          if (result.error.kind === 'definite') forget(grant);
          return result;
      }
    };
  };

  return {
    landing,
    stray(provider, grant, result) {
      if (result.kind === 'absent' || (result.kind === 'failed' && result.error.kind === 'definite'))
        forget(grant);
      leases.giveBack(provider, grant, result);
    },
  };
}

/** The grant without what its pod brought, which can be megabytes that nobody counts; whoever renews a lease has the principal. */
function bare(grant: Grant): Grant {
  return { ...grant, workload: { ...grant.workload, tokens: new Map(), secrets: new Map() }, fallbacks: [] };
}

/** What stands after the store has said `unchanged`; a lease prolonged counts as a delivery. */
function confirmed(
  entry: Entry | undefined,
  { expiresAt, version }: Extract<FetchResult, { kind: 'unchanged' }>,
  askedAt: number,
): Omit<Answer, 'freshUntil'> | undefined {
  const value = entry?.value;
  if (entry === undefined || value === undefined) return undefined;
  const changes = {
    ...(version !== undefined && version !== value.version && { version }),
    ...(expiresAt !== undefined && { expiresAt }),
    ...(expiresAt !== undefined && value.lease && { lease: { ...value.lease, expiresAt } }),
  };
  return {
    value: Object.keys(changes).length === 0 ? value : { ...value, ...changes },
    deliveredAt: value.lease !== undefined && expiresAt !== undefined ? askedAt : entry.deliveredAt,
  };
}

function answeredTheUnknown(provider: Provider): SecretError {
  return new SecretError('INTERNAL', `provider ${provider.name} confirmed a version it was not asked about`);
}
