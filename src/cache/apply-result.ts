import { SecretError } from '../core/errors.ts';
import type { FetchResult, Grant, Provider, SecretValue } from '../core/provider.ts';
import type { EntryCache, Entry } from './entries.ts';
import { type CachedResult, type FreshnessOptions, freshUntil } from './freshness.ts';
import type { OnResult } from './in-flight-reads.ts';
import type { EntryKeys } from './keys.ts';
import type { LeaseManager } from './leases.ts';
import type { CacheMetrics } from './metrics.ts';

/** What {@link createApplyResult} needs. */
export type ApplyResultDeps = {
  readonly cache: EntryCache;
  readonly keys: EntryKeys;
  readonly leases: LeaseManager;
  readonly metrics: CacheMetrics;
  readonly freshness: (provider: string) => FreshnessOptions;
  readonly now: () => number;
  readonly random: () => number;
};

/** See {@link createApplyResult}. */
export type ApplyResult = {
  /** Makes the landing of one question; `known` is the value that was shown to the store with it. */
  onResult(provider: Provider, grant: Grant, known: SecretValue | undefined): OnResult;
  /** Takes in an answer that nobody waited for any more: it serves nobody, but a no is a no, and a lease is given back. */
  onLateResult(provider: Provider, grant: Grant, result: FetchResult): void;
};

/** What the store's answers do to the cache. */
export function createApplyResult(deps: ApplyResultDeps): ApplyResult {
  const { cache, keys, leases, metrics, freshness, now, random } = deps;

  const dropEntries = (grant: Grant): void => {
    for (const key of keys.possibleEntryKeys(grant)) cache.drop(key);
  };

  const onResult: ApplyResult['onResult'] = (provider, grant, known) => {
    const keyAtRequest = keys.entryKey(grant);

    const putResult = (
      result: FetchResult,
      sentAt: number,
      cachedResult: Omit<CachedResult, 'freshUntil'>,
    ): FetchResult => {
      const { refreshInterval } = freshness(provider.name);
      const until = freshUntil(grant.ref, cachedResult.value, sentAt, refreshInterval, random());
      if (cachedResult.value !== undefined) keys.recordShareability(grant, cachedResult.value);
      // What was learnt can have moved the place where this answer belongs.
      const key = keys.entryKey(grant);
      if (key !== keyAtRequest) cache.drop(keyAtRequest);
      const republished = cache.get(key)?.republished ?? false;
      const requestedAt = now();
      try {
        cache.put({
          key,
          provider,
          grant: stripCredentials(grant),
          requestedAt,
          republished,
          freshUntil: until,
          ...cachedResult,
        });
        return result;
      } catch (error) {
        leases.releaseUnused(provider, grant, result);
        return { kind: 'failed', error: error as SecretError };
      }
    };

    return (result, sentAt) => {
      metrics.reads.inc({ provider: provider.name, result: result.kind });
      switch (result.kind) {
        case 'value':
          return putResult(result, sentAt, { value: result.value, deliveredAt: sentAt });
        case 'absent':
          dropEntries(grant);
          return putResult(result, sentAt, { absentError: result.error, deliveredAt: sentAt });
        case 'unchanged': {
          if (known === undefined)
            return { kind: 'failed', error: unexpectedUnchangedError(provider) };
          // Meanwhile it may have been denied, or its lease renewed or ended: only what is still there is confirmed.
          const confirmedResult = applyConfirmation(cache.get(keyAtRequest), result, sentAt);
          return confirmedResult === undefined
            ? result
            : putResult(result, sentAt, confirmedResult);
        }
        case 'failed':
          if (result.error.kind === 'definite') dropEntries(grant);
          return result;
      }
    };
  };

  return {
    onResult,
    onLateResult(provider, grant, result) {
      if (
        result.kind === 'absent' ||
        (result.kind === 'failed' && result.error.kind === 'definite')
      )
        dropEntries(grant);
      leases.releaseUnused(provider, grant, result);
    },
  };
}

/** The grant without what its pod brought, which can be megabytes that nobody counts; whoever renews a lease has the principal. */
function stripCredentials(grant: Grant): Grant {
  return {
    ...grant,
    workload: { ...grant.workload, tokens: new Map(), secrets: new Map() },
    fallbacks: [],
  };
}

/** What stands after the store has said `unchanged`; a lease prolonged counts as a delivery. */
function applyConfirmation(
  entry: Entry | undefined,
  { expiresAt, version }: Extract<FetchResult, { kind: 'unchanged' }>,
  sentAt: number,
): Omit<CachedResult, 'freshUntil'> | undefined {
  const value = entry?.value;
  if (entry === undefined || value === undefined) return undefined;
  const changes = {
    ...(version !== undefined && version !== value.version && { version }),
    ...(expiresAt !== undefined && { expiresAt }),
    ...(expiresAt !== undefined && value.lease && { lease: { ...value.lease, expiresAt } }),
  };
  return {
    value: Object.keys(changes).length === 0 ? value : { ...value, ...changes },
    deliveredAt: value.lease !== undefined && expiresAt !== undefined ? sentAt : entry.deliveredAt,
  };
}

function unexpectedUnchangedError(provider: Provider): SecretError {
  return new SecretError(
    'INTERNAL',
    `provider ${provider.name} confirmed a version it was not asked about`,
  );
}
