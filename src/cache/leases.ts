import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import type { Presence } from '../concurrency/workload-memory.ts';
import { toSecretError } from '../core/errors.ts';
import type { FetchResult, Grant, Lease, Provider } from '../core/provider.ts';
import type { Entry, EntryCache, LeasedEntry } from './entries.ts';
import { expiryOf, idleMaxAgeMs, leaseIdleTimeoutMs } from './freshness.ts';
import type { CacheMetrics } from './metrics.ts';

/** What {@link LeaseManager} needs. */
export type LeaseManagerDeps = {
  readonly cache: EntryCache;
  readonly presence: Presence;
  readonly now: () => number;
  readonly metrics: CacheMetrics;
  /**
   * Whether {@link LeaseManager.releaseReplaced} is called. Default false: a lease that cannot be
   * extended is left to its end, because its workload may still use it.
   */
  readonly keepsReplaced?: boolean | undefined;
  readonly log: Logger;
};

/** A lease that cannot be extended, and whose instance may still use it. */
type ReplacedLease = {
  readonly provider: Provider;
  readonly grant: Grant;
  readonly lease: Lease;
  /** When it was replaced, in milliseconds since the epoch. */
  readonly at: number;
};

/** The wait after a failed renewal. */
const renewalRetryDelayMs = 10_000;

/** The timeout of a renewal and of a release. */
const renewalTimeoutMs = 10_000;

/**
 * `tick` is called every second. A longer time than this between two ticks means that the clock was
 * set forward, or that the machine was suspended.
 */
const clockJumpThresholdMs = 60_000;

/** For how many instances. */
const maxReplacedInstances = 1_000;

/** How many classes the warning about stopped renewals is remembered for. */
const maxWarnedClasses = 1_000;

/**
 * Keeps leases alive while their workloads run. It renews a lease at two thirds of its life, and
 * releases it when the instance that it was read for is gone. It also drops entries that have
 * expired or are idle.
 *
 * For an instance that is not watched, its requests are the only sign of life:
 * - No request for ten minutes while other instances send theirs: the lease is released.
 * - No request after the first mount: the driver may not rotate. The renewals stop after ten
 *   minutes.
 * - No request from any instance: the driver or the kubelet is down. The renewals stop after an
 *   hour.
 *
 * In the last two cases the workload may still run, so the lease is not released but left to
 * expire.
 */
export class LeaseManager {
  readonly #deps: LeaseManagerDeps;
  readonly #warned = new LRUCache<string, true>({ max: maxWarnedClasses });
  /** By instance. */
  readonly #replaced = new LRUCache<string, readonly ReplacedLease[]>({
    max: maxReplacedInstances,
  });
  #lastTickAt: number;

  constructor(deps: LeaseManagerDeps) {
    this.#deps = deps;
    this.#lastTickAt = deps.now();
  }

  /** Renews, releases and drops what is due. */
  tick(): void {
    const { cache, now } = this.#deps;
    this.#detectClockJump();
    for (const instance of [...this.#replaced.keys()])
      if (this.#deps.presence(instance) === 'gone') this.releaseReplaced(instance);
    for (const entry of [...cache.entries()]) {
      const lease = entry.value?.lease;
      if (entry.value !== undefined && now() >= expiryOf(entry.value)) cache.drop(entry.key);
      else if (this.#isOrphaned(entry)) this.#dropAndRelease(entry, lease);
      else if (lease !== undefined && isLeased(entry)) this.#maintain(entry, lease);
      else if (now() - entry.requestedAt > idleMaxAgeMs) cache.drop(entry.key);
    }
  }

  /** Releases the lease of a result that cannot be cached, if it has one. */
  releaseUnused(provider: Provider, grant: Grant, result: FetchResult): void {
    if (result.kind === 'value' && result.value.lease !== undefined)
      this.#release(provider, grant, result.value.lease);
  }

  /** Remembers the lease of an entry for {@link releaseReplaced}. */
  keepReplaced(entry: Entry | undefined): void {
    const { provider, grant, value } = entry ?? {};
    const lease = value?.lease;
    if (this.#deps.keepsReplaced !== true || !provider || !grant || !lease) return;
    const { instance } = grant.workload;
    const at = this.#deps.now();
    const others = (this.#replaced.get(instance) ?? []).filter((each) => each.lease.expiresAt > at);
    this.#replaced.set(instance, [...others, { provider, grant, lease, at }]);
  }

  /**
   * Releases the leases of an instance that could not be extended. To be called when the instance
   * uses what has replaced them.
   * @param readAt when the read of what it uses began: it can have returned a lease that was
   *   replaced later. Default: all are released
   */
  releaseReplaced(instance: string, readAt = Infinity): void {
    const { now } = this.#deps;
    const replaced = this.#replaced.get(instance) ?? [];
    const kept = replaced.filter(({ at }) => at >= readAt);
    for (const { provider, grant, lease, at } of replaced)
      if (at < readAt && lease.expiresAt > now()) this.#release(provider, grant, lease);
    if (kept.length > 0) this.#replaced.set(instance, kept);
    else this.#replaced.delete(instance);
  }

  /** After a clock jump, no pod counts as idle because of the jump. */
  #detectClockJump(): void {
    const at = this.#deps.now();
    const elapsed = at - this.#lastTickAt;
    this.#lastTickAt = at;
    if (elapsed < 0 || elapsed > clockJumpThresholdMs)
      this.#deps.cache.adjustForClockJump(at, elapsed);
  }

  /** The workload is gone, and the entry serves no other workload. */
  #isOrphaned({ instance }: Entry): boolean {
    return instance !== undefined && this.#deps.presence(instance) === 'gone';
  }

  #maintain(entry: LeasedEntry, lease: Lease): void {
    const inactivity = this.#inactivityOf(entry);
    if (inactivity === 'gone') this.#dropAndRelease(entry, lease);
    else if (inactivity === 'unclear') {
      this.#deps.cache.drop(entry.key);
      this.#reportRenewalStopped(entry);
    } else if (lease.renewable && this.#isRenewalDue(entry)) {
      entry.renewAfter = Infinity;
      const renewing = this.#renew(entry, lease);
      this.#reportBackgroundFailure(entry, 'a lease could not be renewed', renewing);
      renewing.catch(() => {
        entry.renewAfter = this.#deps.now() + renewalRetryDelayMs;
      });
    }
  }

  /**
   * Whether the entry's requests have stopped, and whether that means that its workload is gone.
   */
  #inactivityOf({ requestedAt, republished, grant }: LeasedEntry): 'none' | 'gone' | 'unclear' {
    const { cache, presence, now } = this.#deps;
    const idleMs = now() - requestedAt;
    if (idleMs <= leaseIdleTimeoutMs || presence(grant.workload.instance) === 'here') return 'none';
    if (republished && cache.republishedAt - requestedAt > leaseIdleTimeoutMs) return 'gone';
    return republished && idleMs <= idleMaxAgeMs ? 'none' : 'unclear';
  }

  /**
   * Whether to renew the lease now. An entry that was delivered in the future is from before the
   * clock was set back; its times are meaningless, so it is due.
   */
  #isRenewalDue({ freshUntil, deliveredAt, renewAfter = 0 }: Entry): boolean {
    const at = this.#deps.now();
    const isPaused =
      at < renewAfter && (renewAfter === Infinity || renewAfter - at <= renewalRetryDelayMs);
    return !isPaused && (at >= freshUntil || at < deliveredAt);
  }

  async #renew(entry: LeasedEntry, lease: Lease): Promise<void> {
    const { cache, metrics, now } = this.#deps;
    const sentAt = now();
    const renewal = await entry.provider.renew?.(
      entry.grant,
      lease,
      AbortSignal.timeout(renewalTimeoutMs),
    );
    // Meanwhile a denial may have dropped the entry, or a read may have replaced it or its lease.
    const current = cache.get(entry.key);
    const value = current?.value;
    if (renewal === undefined || current === undefined || value?.lease?.id !== lease.id) return;
    metrics.leases.inc({ provider: entry.provider.name, result: renewal.kind });
    if (renewal.kind === 'ended') {
      cache.drop(entry.key);
      this.keepReplaced(entry);
      return;
    }
    const { expiresAt } = renewal;
    cache.put({
      ...current,
      value: {
        ...value,
        lease: { ...lease, expiresAt },
        ...(value.expiresAt !== undefined && { expiresAt }),
      },
      deliveredAt: sentAt,
      freshUntil: sentAt + ((expiresAt - sentAt) * 2) / 3,
      renewAfter: 0,
    });
  }

  #dropAndRelease(entry: Entry, lease: Lease | undefined): void {
    this.#deps.cache.drop(entry.key);
    if (lease !== undefined && isLeased(entry)) this.#release(entry.provider, entry.grant, lease);
  }

  #release(provider: Provider, grant: Grant, lease: Lease): void {
    this.#reportBackgroundFailure(
      { provider, grant },
      'a lease could not be released',
      this.#releaseAtStore(provider, grant, lease),
    );
  }

  async #releaseAtStore(provider: Provider, grant: Grant, lease: Lease): Promise<void> {
    if (provider.release === undefined) return;
    this.#deps.metrics.leases.inc({ provider: provider.name, result: 'released' });
    await provider.release(grant, lease, AbortSignal.timeout(renewalTimeoutMs));
  }

  /** No caller waits for background work, so its failure is logged here. */
  #reportBackgroundFailure(
    { provider, grant }: Pick<LeasedEntry, 'provider' | 'grant'>,
    failureMessage: string,
    work: Promise<void>,
  ): void {
    work.catch((thrown: unknown) => {
      const { code, message } = toSecretError(thrown);
      this.#deps.metrics.leases.inc({ provider: provider.name, result: 'failed' });
      this.#deps.log.warn(
        { provider: provider.name, ref: grant.ref.name, code, reason: message },
        failureMessage,
      );
    });
  }

  #reportRenewalStopped({ provider, grant: { ref, workload }, republished }: LeasedEntry): void {
    this.#deps.metrics.leases.inc({ provider: provider.name, result: 'lapsed' });
    const { tenant: namespace, className } = workload;
    const key = JSON.stringify([namespace, className]);
    if (this.#warned.has(key)) return;
    this.#warned.set(key, true);
    const hint =
      'if its pod still runs, enable rotation in the driver, or run Keyferry with --pod-watch on';
    this.#deps.log.warn(
      { provider: provider.name, namespace, class: className, ref: ref.name, hint },
      republished
        ? 'no pod has requested leased secrets for an hour: their leases are no longer renewed'
        : 'a leased secret was requested once and never again: its lease is no longer renewed',
    );
  }
}

function isLeased(entry: Entry): entry is LeasedEntry {
  return entry.grant !== undefined;
}
