import type { Logger } from 'pino';
import { outlasts } from '../concurrency/caller.ts';
import { withTimeout } from '../concurrency/deadline.ts';
import { type Presence, WorkloadMemory } from '../concurrency/workload-memory.ts';
import { SecretError, toSecretError, withFallbackFailure } from '../core/errors.ts';
import type { HandedOverLease } from '../core/handed-over-lease.ts';
import type { SecretRef } from '../core/plan.ts';
import type {
  FetchRequest,
  Grant,
  Outcome,
  Patience,
  Provider,
  SecretValue,
  Urgency,
} from '../core/provider.ts';
import { type ApplyResult, createApplyResult } from './apply-result.ts';
import { createBatcher } from './batcher.ts';
import { DeliveryHistory } from './delivery-history.ts';
import { EntryCache } from './entries.ts';
import { type FreshnessOptions, classifyFreshness, lastKnownGood } from './freshness.ts';
import { handOverLeases, takeOverLease } from './hand-over.ts';
import { InFlightReads } from './in-flight-reads.ts';
import { EntryKeys, isShareable } from './keys.ts';
import { LeaseManager } from './leases.ts';
import type { CacheMetrics } from './metrics.ts';

/** A caller that waits for a read. */
export type Waiter = {
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly deadline: number;
  /** Serve no value that the store does not confirm now, not even in an outage. Default false. */
  readonly refresh?: boolean;
};

/** What {@link SecretCache} needs. */
export type SecretCacheDeps = {
  readonly now: () => number;
  /** In [0, 1). */
  readonly random: () => number;
  /** Bytes of cached secrets. Default 32 MiB. */
  readonly maxBytes?: number;
  readonly freshness: (provider: string) => FreshnessOptions;
  readonly metrics: (bytes: () => number) => CacheMetrics;
  readonly log: Logger;
  /** Remembers what each workload received. Default: a new one. */
  readonly workloadMemory?: WorkloadMemory;
  /** Whether a workload still runs. Default: unknown for all workloads. */
  readonly presence?: Presence;
  /** See LeaseManagerDeps. */
  readonly keepsReplacedLeases?: boolean | undefined;
  /** See `timeoutMs` of InFlightReadsDeps. */
  readonly readTimeoutMs?: number;
  /** How long a mount without a cached value waits for a store that is away. Default 0. */
  readonly patienceMs?: number;
};

/** A mount's patience ends this long before its deadline, so that it fails with the true cause. */
const deadlineMarginMs = 1_000;

/** The result of reading one grant, without its fallbacks. */
type Attempt =
  | { readonly kind: 'value'; readonly value: SecretValue; readonly source: 'cache' | 'store' }
  | { readonly kind: 'absent' | 'failed'; readonly error: SecretError };

/** No sequence of events makes more than three reads in a row unusable for one grant. */
const maxRounds = 4;

/**
 * Reads secrets for grants: from the cache where the freshness table allows it, otherwise from the
 * provider, with one read for all callers.
 */
export class SecretCache {
  readonly #now: () => number;
  readonly #patienceMs: number;
  readonly #freshness: (provider: string) => FreshnessOptions;
  readonly #log: Logger;
  readonly #metrics: CacheMetrics;
  readonly #entries: EntryCache;
  readonly #keys = new EntryKeys();
  readonly #deliveryHistory: DeliveryHistory;
  readonly #leases: LeaseManager;
  readonly #applyResult: ApplyResult;
  readonly #inFlightReads: InFlightReads;

  constructor(deps: SecretCacheDeps) {
    const { now, random, freshness, log, readTimeoutMs } = deps;
    const { maxBytes = 32 * 1024 * 1024, presence = () => 'unknown', patienceMs = 0 } = deps;
    const cache = new EntryCache({ maxBytes });
    const metrics = deps.metrics(() => cache.bytes);
    const keys = this.#keys;
    const { keepsReplacedLeases: keepsReplaced } = deps;
    const leases = new LeaseManager({ cache, presence, now, metrics, keepsReplaced, log });
    this.#now = now;
    this.#patienceMs = patienceMs;
    this.#freshness = freshness;
    this.#log = log;
    this.#metrics = metrics;
    this.#entries = cache;
    this.#deliveryHistory = new DeliveryHistory(deps.workloadMemory ?? new WorkloadMemory());
    this.#leases = leases;
    this.#applyResult = createApplyResult({ cache, keys, leases, metrics, freshness, now, random });
    this.#inFlightReads = new InFlightReads({
      fetchBatched: createBatcher(),
      now,
      onLateResult: this.#applyResult.onLateResult,
      ...(readTimeoutMs !== undefined && { timeoutMs: readTimeoutMs }),
    });
  }

  /**
   * Returns one outcome per grant, in their order.
   * @throws SecretError the reason of the waiter's signal
   */
  async read(
    provider: Provider,
    grants: readonly Grant[],
    waiter: Waiter,
  ): Promise<readonly Outcome[]> {
    if (waiter.refresh === true)
      for (const grant of grants) this.#entries.expire(this.#keys.entryKey(grant));
    return (
      this.readCached(provider, grants) ??
      Promise.all(grants.map((grant) => this.#readOne(provider, grant, waiter)))
    );
  }

  /** All outcomes from memory, as for most mounts. Undefined if one of the grants needs a read. */
  readCached(provider: Provider, grants: readonly Grant[]): readonly Outcome[] | undefined {
    const outcomes: Outcome[] = [];
    for (const grant of grants) {
      const cached = this.#lookUp(grant);
      if (cached?.kind !== 'value') return undefined;
      outcomes.push({ kind: 'value', ref: grant.ref, served: grant.ref, value: cached.value });
    }
    this.#metrics.served.inc({ provider: provider.name, source: 'cache' }, outcomes.length);
    return outcomes;
  }

  /**
   * Records that a mount with these outcomes has succeeded. From now on its workload is no longer a
   * new one for these secrets.
   */
  recordDelivery(grants: readonly Grant[], outcomes: readonly Outcome[]): void {
    grants.forEach((grant, index) => {
      const outcome = outcomes[index];
      // The primary, or the fallback that replaced it.
      const servedRef = outcome?.kind === 'value' ? outcome.served : grant.ref;
      const deliveredGrant = grant.fallbacks.find(({ ref }) => ref === servedRef) ?? grant;
      this.#deliveryHistory.add(grant.workload, this.#keys.requestKey(deliveredGrant));
    });
  }

  /**
   * Whether this process has delivered the grant's secret, or a fallback, to the grant's workload.
   */
  hasDelivered(grant: Grant): boolean {
    return (
      this.#wasDelivered(grant) || grant.fallbacks.some((fallback) => this.hasDelivered(fallback))
    );
  }

  /** The leases with their values, for the process after this one. */
  handOver(): readonly HandedOverLease[] {
    return handOverLeases(this.#entries);
  }

  /**
   * Keeps a lease that an earlier process has handed over, as if this one had read and delivered
   * it.
   * @returns whether it is kept
   * @throws SecretError LEASES_EXHAUSTED
   */
  takeOver(provider: Provider, grant: Grant, handedOver: HandedOverLease): boolean {
    const taken = takeOverLease(provider, grant, handedOver);
    if (taken === undefined) return false;
    this.#entries.put({
      ...{ key: this.#keys.entryKey(grant), provider, ...taken },
      ...{ namespace: grant.workload.tenant, instance: grant.workload.instance },
      requestedAt: this.#now(),
      republished: false,
    });
    this.#deliveryHistory.add(grant.workload, this.#keys.requestKey(grant));
    return true;
  }

  /** See `releaseReplaced` of LeaseManager. */
  releaseReplaced(instance: string, readAt?: number): void {
    this.#leases.releaseReplaced(instance, readAt);
  }

  /** Renews and releases leases and drops old entries. To be called once a second. */
  tick(): void {
    this.#leases.tick();
  }

  /**
   * One grant. On an outage, its fallbacks in order; then the last good value of the grant itself.
   */
  async #readOne(provider: Provider, grant: Grant, waiter: Waiter): Promise<Outcome> {
    const { ref } = grant;
    const staleValue = (): SecretValue | undefined =>
      waiter.refresh === true ? undefined : this.#staleValue(provider, grant);
    const toOutcome = (servedGrant: Grant, value: SecretValue, source: string): Outcome => {
      this.#metrics.served.inc({ provider: provider.name, source });
      return { kind: 'value', ref, served: servedGrant.ref, value };
    };
    const candidates = [grant, ...grant.fallbacks];
    const patienceEnd = Math.min(
      this.#now() + this.#patienceMs,
      waiter.deadline - deadlineMarginMs,
    );
    let outage: SecretError | undefined;
    let refusal: SecretError | undefined;
    for (const [index, candidate] of candidates.entries()) {
      const hasMoreAttempts = index < candidates.length - 1 || staleValue() !== undefined;
      // A fallback, or the last good value, serves sooner than a store that is away comes back.
      const patience: Patience = hasMoreAttempts
        ? () => 0
        : () => Math.max(0, patienceEnd - this.#now());
      const attempt = (signal: AbortSignal): Promise<Attempt> =>
        this.#attempt(provider, candidate, patience, signal);
      const result =
        this.#lookUp(candidate) ??
        (await (hasMoreAttempts
          ? limitAttemptTime(waiter, this.#now, candidate.ref, attempt)
          : attempt(waiter.signal)));
      if (result.kind === 'value') {
        return toOutcome(candidate, result.value, candidate === grant ? result.source : 'fallback');
      }
      // A failure of a fallback fails only that fallback.
      const isRefusal = result.error.kind !== 'outage';
      if (candidate === grant && isRefusal) return { ...result, ref };
      if (isRefusal) this.#logRefusal(provider, candidate, result.error);
      if (isRefusal) refusal ??= result.error;
      outage ??= result.error;
      // An exhausted rate limit is not an outage of the store: a cached value serves before a
      // fallback.
      if (outage.code === 'RATE_BUDGET_EXHAUSTED' && staleValue() !== undefined) break;
    }
    const value = staleValue();
    const deferred = outage?.code === 'RATE_BUDGET_EXHAUSTED';
    if (value !== undefined) return toOutcome(grant, value, deferred ? 'deferred' : 'last-good');
    const error = outage ?? livelockError(provider, ref);
    const failure = refusal === undefined ? error : withFallbackFailure(error, refusal);
    return { kind: 'failed', ref, error: failure };
  }

  /** The mount can succeed nevertheless, with another fallback or with the last good value. */
  #logRefusal({ name }: Provider, { ref }: Grant, { code, summary }: SecretError): void {
    const { service, name: object, region } = ref;
    this.#log.warn(
      { provider: name, service, object, region, code, reason: summary },
      'a fallback cannot be used',
    );
  }

  /**
   * One grant, from the cache or from the store. A read in flight may turn out to be unusable:
   * another pod's lease, a confirmation where a delivery is needed, or a refresh that gave way to
   * first mounts. Then the next round starts. A read that had less patience than this grant is
   * `outlasted` and counts for no round: the patience bounds how many of them there are.
   */
  async #attempt(
    provider: Provider,
    grant: Grant,
    patience: Patience,
    signal: AbortSignal,
  ): Promise<Attempt> {
    for (let round = 0; round < maxRounds;) {
      const result =
        this.#lookUp(grant) ?? (await this.#joinOrStart(provider, grant, patience, signal));
      if (result === 'retry') round++;
      else if (result !== 'outlasted') return result;
    }
    return { kind: 'failed', error: livelockError(provider, grant.ref) };
  }

  /** The cached result, if it may serve the grant without a read. */
  #lookUp(grant: Grant): Attempt | undefined {
    const entry = this.#entries.get(this.#keys.entryKey(grant));
    if (entry === undefined) return undefined;
    const at = this.#now();
    const alreadyDelivered = this.#wasDelivered(grant);
    this.#entries.touch(entry, at, alreadyDelivered);
    if (classifyFreshness(entry, alreadyDelivered, at) !== 'serve') return undefined;
    const { value, absentError } = entry;
    if (absentError !== undefined) return { kind: 'absent', error: absentError };
    return value && { kind: 'value', value, source: 'cache' };
  }

  /** Joins the read in flight, or starts one, and waits for its result. */
  async #joinOrStart(
    provider: Provider,
    grant: Grant,
    patience: Patience,
    signal: AbortSignal,
  ): Promise<Attempt | 'retry' | 'outlasted'> {
    const key = this.#keys.entryKey(grant);
    const entry = this.#entries.get(key);
    const alreadyDelivered = this.#wasDelivered(grant);
    const canConfirm = classifyFreshness(entry, alreadyDelivered, this.#now()) === 'confirm';
    const known = canConfirm ? entry?.value : undefined;
    // A workload that needs a delivery has no value yet, whatever is cached for others.
    const urgency: Urgency = known && this.#staleValue(provider, grant) ? 'refresh' : 'first';
    const joined = this.#inFlightReads.find(key);
    const request = { provider, grant, urgency, patience, ...(known && { known: toKnown(known) }) };
    const inFlightRead =
      joined ??
      this.#inFlightReads.start(key, request, this.#applyResult.onResult(provider, grant, known));
    const result = await inFlightRead.join(signal);
    switch (result.kind) {
      case 'value':
        return joined === undefined || canShareResult(grant, result.value, joined.instance)
          ? { kind: 'value', value: result.value, source: 'store' }
          : 'retry';
      case 'unchanged': {
        const updatedEntry = this.#entries.get(key);
        return updatedEntry?.value !== undefined &&
          classifyFreshness(updatedEntry, alreadyDelivered, this.#now()) !== 'read'
          ? { kind: 'value', value: updatedEntry.value, source: 'store' }
          : 'retry';
      }
      case 'absent':
        return result;
      case 'failed':
        if (joined && result.error.kind === 'outage' && outlasts(patience, joined.patience))
          return 'outlasted';
        return joined?.urgency === 'refresh' &&
          urgency === 'first' &&
          result.error.code === 'RATE_BUDGET_EXHAUSTED'
          ? 'retry'
          : result;
    }
  }

  #wasDelivered(grant: Grant): boolean {
    return this.#deliveryHistory.has(grant.workload, this.#keys.requestKey(grant));
  }

  /** The cached value that may serve during an outage, if there is one. */
  #staleValue(provider: Provider, grant: Grant): SecretValue | undefined {
    const entry = this.#entries.get(this.#keys.entryKey(grant));
    return lastKnownGood(entry, this.#freshness(provider.name).maxStaleMs, this.#now());
  }
}

/**
 * Limits an attempt after which more can follow to half of the waiter's remaining time. It rejects
 * only with the reason of the waiter's signal.
 */
async function limitAttemptTime(
  { signal, deadline }: Waiter,
  now: () => number,
  ref: SecretRef,
  work: (signal: AbortSignal) => Promise<Attempt>,
): Promise<Attempt> {
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

/** Whether a value that another instance's read returned may serve this grant. */
function canShareResult(grant: Grant, value: SecretValue, startedBy: string): boolean {
  return grant.scope === 'principal' || grant.workload.instance === startedBy || isShareable(value);
}

function toKnown({ version, lease }: SecretValue): NonNullable<FetchRequest['known']> {
  return { ...(version !== undefined && { version }), ...(lease !== undefined && { lease }) };
}

function attemptTimeoutError(ref: SecretRef): SecretError {
  return new SecretError('STORE_TIMEOUT', `${ref.service} did not return ${ref.name} in time`);
}

function livelockError(provider: Provider, ref: SecretRef): SecretError {
  return new SecretError(
    'INTERNAL',
    `${provider.name}: reading ${ref.service} ${ref.name} gave no usable result`,
  );
}
