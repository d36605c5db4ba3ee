import type { Logger } from 'pino';
import { withTimeout } from '../concurrency/single-flight.ts';
import { SecretError, toSecretError } from '../core/errors.ts';
import type { SecretRef } from '../core/plan.ts';
import type { FetchRequest, Grant, Outcome, Provider, SecretValue } from '../core/provider.ts';
import { createApplyResult } from './apply-result.ts';
import { createEntryCache } from './entries.ts';
import { type FreshnessOptions, classifyFreshness, lastKnownGood } from './freshness.ts';
import { createBatcher, createInFlightReads } from './in-flight-reads.ts';
import { createEntryKeys, createDeliveryHistory, isShareable } from './keys.ts';
import { type Presence, createLeaseManager } from './leases.ts';
import type { CacheMetrics } from './metrics.ts';

/** Who waits for a read, and how long. */
export type Waiter = {
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly deadline: number;
};

/** What {@link createSecretCache} needs. */
export type SecretCacheDeps = {
  readonly now: () => number;
  /** In [0, 1). */
  readonly random: () => number;
  /** Bytes of cached secrets; default 32 MiB. */
  readonly maxBytes?: number;
  readonly freshness: (provider: string) => FreshnessOptions;
  readonly metrics: (bytes: () => number) => CacheMetrics;
  readonly log: Logger;
  /** Who watches the workloads; default nobody. */
  readonly presence?: Presence;
  /** See FlightsDeps. */
  readonly readTimeout?: number;
};

/** Reads secrets for grants: from its cache where the freshness table allows, else from the provider, once for all who ask. */
export type SecretCache = {
  /**
   * One outcome a grant, in order.
   * @throws SecretError the waiter's own: its deadline, or its leaving.
   */
  read(provider: Provider, grants: readonly Grant[], waiter: Waiter): Promise<readonly Outcome[]>;
  /** Takes down that a mount has succeeded with these outcomes: from now on its workload is no new one for these secrets. */
  recordDelivery(grants: readonly Grant[], outcomes: readonly Outcome[]): void;
  /** Whether this process has served this grant's secret to this grant's workload before. */
  hasDelivered(grant: Grant): boolean;
  /** Renews, gives back and forgets what is due. Called once a second. */
  tick(): void;
};

/** An attempt at one grant, fallbacks aside. */
type Attempt =
  | { readonly kind: 'value'; readonly value: SecretValue; readonly source: 'cache' | 'store' }
  | { readonly kind: 'absent' | 'failed'; readonly error: SecretError };

/** See {@link SecretCache}. */
export function createSecretCache(deps: SecretCacheDeps): SecretCache {
  const {
    now,
    random,
    freshness,
    log,
    maxBytes = 32 * 1024 * 1024,
    presence = () => 'unknown',
  } = deps;
  const cache = createEntryCache({ maxBytes });
  const metrics = deps.metrics(() => cache.bytes);
  const deliveryHistory = createDeliveryHistory();
  const keys = createEntryKeys();
  const leases = createLeaseManager({ cache, keys, presence, now, metrics, log });
  const applyResult = createApplyResult({ cache, keys, leases, metrics, freshness, now, random });
  const inFlightReads = createInFlightReads({
    fetchBatched: createBatcher(),
    now,
    onLateResult: applyResult.onLateResult,
    ...(deps.readTimeout !== undefined && { timeout: deps.readTimeout }),
  });

  const hasDelivered = (grant: Grant): boolean =>
    deliveryHistory.has(grant.workload.instance, keys.requestKey(grant)) ||
    grant.fallbacks.some(hasDelivered);

  /** What the cache alone can answer. */
  const lookUp = (provider: Provider, grant: Grant): Attempt | undefined => {
    const entry = cache.get(keys.entryKey(grant));
    if (entry === undefined) return undefined;
    const at = now();
    const alreadyDelivered = deliveryHistory.has(grant.workload.instance, keys.requestKey(grant));
    cache.touch(entry, at, alreadyDelivered);
    if (classifyFreshness(entry, alreadyDelivered, at) !== 'serve') return undefined;
    const { value, absentError } = entry;
    if (absentError !== undefined) return { kind: 'absent', error: absentError };
    return value && { kind: 'value', value, source: 'cache' };
  };

  /** Joins the flight under way, or begins one, and waits for it. */
  const joinOrStart = async (
    provider: Provider,
    grant: Grant,
    signal: AbortSignal,
  ): Promise<Attempt | 'retry'> => {
    const key = keys.entryKey(grant);
    const entry = cache.get(key);
    const alreadyDelivered = deliveryHistory.has(grant.workload.instance, keys.requestKey(grant));
    const known =
      classifyFreshness(entry, alreadyDelivered, now()) === 'confirm' ? entry?.value : undefined;
    // Who needs a delivery has nothing yet, whatever is cached for others.
    const urgency =
      known && lastKnownGood(entry, freshness(provider.name).maxStale, now()) ? 'refresh' : 'first';
    const joined = inFlightReads.find(key);
    const request = {
      provider,
      grant,
      urgency,
      ...(known && { known: toKnown(known) }),
    } as const;
    const inFlightRead =
      joined ?? inFlightReads.start(key, request, applyResult.onResult(provider, grant, known));
    const result = await inFlightRead.join(signal);
    switch (result.kind) {
      case 'value':
        return joined === undefined || canShareResult(grant, result.value, joined.instance)
          ? { kind: 'value', value: result.value, source: 'store' }
          : 'retry';
      case 'unchanged': {
        const updatedEntry = cache.get(key);
        return updatedEntry?.value !== undefined &&
          classifyFreshness(updatedEntry, alreadyDelivered, now()) !== 'read'
          ? { kind: 'value', value: updatedEntry.value, source: 'store' }
          : 'retry';
      }
      case 'absent':
        return result;
      case 'failed':
        return joined?.urgency === 'refresh' &&
          urgency === 'first' &&
          result.error.code === 'RATE_BUDGET_EXHAUSTED'
          ? 'retry'
          : result;
    }
  };

  /** One grant, from the cache or from the store. */
  const attempt = async (
    provider: Provider,
    grant: Grant,
    signal: AbortSignal,
  ): Promise<Attempt> => {
    // A flight may turn out not to be for us: another pod's lease, a confirmation where we need a delivery, a refresh that gave way
    // to first mounts. Then we look again; nobody needs more than three rounds.
    for (let round = 0; round < 4; round++) {
      const result = lookUp(provider, grant) ?? (await joinOrStart(provider, grant, signal));
      if (result !== 'retry') return result;
    }
    return { kind: 'failed', error: livelockError(provider, grant.ref) };
  };

  /** A grant; on an outage its fallbacks in order, then the last good value of the grant itself. */
  const readOne = async (provider: Provider, grant: Grant, waiter: Waiter): Promise<Outcome> => {
    const { ref } = grant;
    const staleValue = (): SecretValue | undefined =>
      lastKnownGood(cache.get(keys.entryKey(grant)), freshness(provider.name).maxStale, now());
    const toOutcome = (servedGrant: Grant, value: SecretValue, source: string): Outcome => {
      metrics.served.inc({ provider: provider.name, source });
      return { kind: 'value', ref, served: servedGrant.ref, value };
    };
    const candidates = [grant, ...grant.fallbacks];
    let outage: SecretError | undefined;
    for (const [index, candidate] of candidates.entries()) {
      const hasMoreAttempts = index < candidates.length - 1 || staleValue() !== undefined;
      const result =
        lookUp(provider, candidate) ??
        (await limitAttemptTime(waiter, hasMoreAttempts, now, candidate.ref, (signal) =>
          attempt(provider, candidate, signal),
        ));
      if (result.kind === 'value') {
        return toOutcome(candidate, result.value, candidate === grant ? result.source : 'fallback');
      }
      // A fallback that fails, however it does, fails alone: the primary's outage is the cause to be told.
      if (candidate === grant && result.error.kind !== 'outage') return { ...result, ref };
      outage ??= result.error;
      // Our own budget is no outage of the store: what is cached serves before another region is asked.
      if (outage.code === 'RATE_BUDGET_EXHAUSTED' && staleValue() !== undefined) break;
    }
    const value = staleValue();
    const deferred = outage?.code === 'RATE_BUDGET_EXHAUSTED';
    if (value !== undefined) return toOutcome(grant, value, deferred ? 'deferred' : 'last-good');
    return { kind: 'failed', ref, error: outage ?? livelockError(provider, ref) };
  };

  /** All grants from the cache at one look, as most mounts are answered; none where one of them has to ask. */
  const readCached = (
    provider: Provider,
    grants: readonly Grant[],
  ): readonly Outcome[] | undefined => {
    const outcomes: Outcome[] = [];
    for (const grant of grants) {
      const cachedAttempt = lookUp(provider, grant);
      if (cachedAttempt?.kind !== 'value') return undefined;
      outcomes.push({
        kind: 'value',
        ref: grant.ref,
        served: grant.ref,
        value: cachedAttempt.value,
      });
    }
    metrics.served.inc({ provider: provider.name, source: 'cache' }, outcomes.length);
    return outcomes;
  };

  return {
    async read(provider, grants, waiter) {
      return (
        readCached(provider, grants) ??
        Promise.all(grants.map((grant) => readOne(provider, grant, waiter)))
      );
    },
    recordDelivery(grants, outcomes) {
      grants.forEach((grant, index) => {
        const outcome = outcomes[index];
        // The primary, or the fallback that stood in for it.
        const servedRef = outcome?.kind === 'value' ? outcome.served : grant.ref;
        const deliveredGrant = grant.fallbacks.find(({ ref }) => ref === servedRef) ?? grant;
        deliveryHistory.add(grant.workload.instance, keys.requestKey(deliveredGrant));
      });
    },
    hasDelivered,
    tick: leases.tick,
  };
}

/**
 * An attempt with at most half of the remaining time where others may follow it. Only the waiter's own signal rejects.
 */
async function limitAttemptTime(
  { signal, deadline }: Waiter,
  hasMoreAttempts: boolean,
  now: () => number,
  ref: SecretRef,
  work: (signal: AbortSignal) => Promise<Attempt>,
): Promise<Attempt> {
  if (!hasMoreAttempts) return work(signal);
  try {
    return await withTimeout(
      Math.max(0, (deadline - now()) / 2),
      signal,
      () => attemptTimeoutError(ref),
      work,
    );
  } catch (error) {
    signal.throwIfAborted();
    return { kind: 'failed', error: toSecretError(error) };
  }
}

/** Whether a value that came by another's flight may serve this grant. */
function canShareResult(grant: Grant, value: SecretValue, startedBy: string): boolean {
  return grant.scope === 'principal' || grant.workload.instance === startedBy || isShareable(value);
}

function toKnown({ version, lease }: SecretValue): NonNullable<FetchRequest['known']> {
  return { ...(version !== undefined && { version }), ...(lease !== undefined && { lease }) };
}

function attemptTimeoutError(ref: SecretRef): SecretError {
  return new SecretError('STORE_TIMEOUT', `${ref.service} did not answer for ${ref.name} in time`);
}

function livelockError(provider: Provider, ref: SecretRef): SecretError {
  return new SecretError(
    'INTERNAL',
    `${provider.name}: reading ${ref.service} ${ref.name} went round in circles`,
  );
}
