import { SecretError, toSecretError } from '../core/errors.ts';
import type { FetchResult, Grant, Provider, SecretValue } from '../core/provider.ts';
import type { EntryCache, Entry } from './entries.ts';
import { type CachedResult, type FreshnessOptions, computeFreshUntil } from './freshness.ts';
import type { OnResult } from './in-flight-reads.ts';
import type { EntryKeys } from './keys.ts';
import type { LeaseManager } from './leases.ts';
import { toOwnBuffer } from '../formats/own-buffer.ts';
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

/** Applies results of reads to the cache, see {@link createApplyResult}. */
export type ApplyResult = {
  /**
   * Returns the function that applies the result of one read. `known` is the value whose version
   * the request contained.
   */
  onResult(provider: Provider, grant: Grant, known: SecretValue | undefined): OnResult;
  /**
   * Applies a result that no caller waits for any more. It is not cached, but a definite failure
   * still drops the entry, and a lease is released.
   */
  onLateResult(provider: Provider, grant: Grant, result: FetchResult): void;
};

/** What the results of reads do to the cache: add, confirm or drop entries. */
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
      const { refreshIntervalMs } = freshness(provider.name);
      const freshUntil = computeFreshUntil(
        grant.ref,
        cachedResult.value,
        sentAt,
        refreshIntervalMs,
        random(),
      );
      if (cachedResult.value !== undefined) keys.recordShareability(grant, cachedResult.value);
      // The result may have changed the key, since it shows whether the value is shareable.
      const key = keys.entryKey(grant);
      if (key !== keyAtRequest) cache.drop(keyAtRequest);
      const republished = cache.get(key)?.republished ?? false;
      const requestedAt = now();
      try {
        cache.put({
          key,
          provider,
          namespace: grant.workload.tenant,
          ...(key !== keys.requestKey(grant) && { instance: grant.workload.instance }),
          ...(cachedResult.value?.lease && { grant: stripCredentials(grant) }),
          requestedAt,
          republished,
          freshUntil,
          ...cachedResult,
        });
        return result;
      } catch (error) {
        leases.releaseUnused(provider, grant, result);
        return { kind: 'failed', error: toSecretError(error) };
      }
    };

    return (result, sentAt) => {
      metrics.reads.inc({ provider: provider.name, result: result.kind });
      switch (result.kind) {
        case 'value': {
          const value = { ...result.value, bytes: toOwnBuffer(result.value.bytes) };
          const previous = cache.get(keyAtRequest);
          const put = putResult({ kind: 'value', value }, sentAt, { value, deliveredAt: sentAt });
          if (put.kind === 'value' && previous?.value?.lease?.id !== value.lease?.id)
            leases.keepReplaced(previous);
          return put;
        }
        case 'absent':
          dropEntries(grant);
          return putResult(result, sentAt, { absentError: result.error, deliveredAt: sentAt });
        case 'unchanged': {
          if (known === undefined)
            return { kind: 'failed', error: unexpectedUnchangedError(provider) };
          // Meanwhile the value may have been denied, or its lease renewed or ended. Only an entry
          // that still exists is confirmed.
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

/**
 * The grant without the tokens and secrets of its pod, which can be megabytes that no bound counts.
 * A lease is renewed with the principal alone.
 */
export function stripCredentials(grant: Grant): Grant {
  return {
    ...grant,
    workload: { ...grant.workload, tokens: new Map(), secrets: new Map() },
    fallbacks: [],
  };
}

/**
 * The cached result after the store has returned `unchanged`. A prolonged lease counts as a
 * delivery.
 */
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
    `provider ${provider.name} confirmed a version that the request did not contain`,
  );
}
