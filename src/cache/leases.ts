import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { toSecretError } from '../core/errors.ts';
import type { FetchResult, Grant, Lease, Provider } from '../core/provider.ts';
import type { EntryCache, Entry } from './entries.ts';
import { expiryOf, idleMaxAge, leaseIdleTimeout } from './freshness.ts';
import type { EntryKeys } from './keys.ts';
import type { CacheMetrics } from './metrics.ts';

/** See {@link createLeaseManager}. */
export type LeaseManager = {
  /** Renews, gives back and forgets what is due. */
  tick(): void;
  /** Gives back the lease of an answer that cannot be kept, if it has one. */
  revokeUnused(provider: Provider, grant: Grant, result: FetchResult): void;
};

/** Whether a workload instance still runs, as far as somebody watches. `unknown`: what it asks for is all that is known. */
export type Presence = (instance: string) => 'here' | 'gone' | 'unknown';

/** Waits between attempts to renew a lease when nobody answers. */
const renewalRetryDelay = 10_000;

/** So long between two ticks, which come every second: the clock was set forward, or the machine stood still. */
const clockJumpThreshold = 60_000;

/** Classes that are remembered to have been warned of. */
const maxWarnedClasses = 1_000;

/**
 * Keeps leases alive while their workloads run: renewed at two thirds of their life, given back when the instance they were read for is gone. Of an
 * instance that nobody watches its requests tell: after ten minutes without any, while others' come, a lease is given back. Where none ever came after
 * the first mount, the driver may not rotate; where nobody's come, the driver or the kubelet is away. Workloads may run all the same: such a lease is left
 * to its end, at once or after an hour of renewals. It also forgets whatever has ended or lain idle.
 */
export function createLeaseManager(deps: {
  readonly cache: EntryCache;
  readonly keys: Pick<EntryKeys, 'requestKey'>;
  readonly presence: Presence;
  readonly now: () => number;
  readonly metrics: CacheMetrics;
  readonly log: Logger;
}): LeaseManager {
  const { cache, keys, presence, now, metrics, log } = deps;
  const warned = new LRUCache<string, true>({ max: maxWarnedClasses });

  let lastTickAt = now();

  /** A clock that is set makes no pod silent. */
  const detectClockJump = (): void => {
    const at = now();
    const elapsed = at - lastTickAt;
    lastTickAt = at;
    if (elapsed < 0 || elapsed > clockJumpThreshold) cache.adjustForClockJump(at, elapsed);
  };

  /** Whether to renew it; also what is from before the clock was set back, whose times say nothing. */
  const isRenewalDue = ({ freshUntil, deliveredAt, renewAfter = 0 }: Entry): boolean => {
    const at = now();
    const isPaused =
      at < renewAfter && (renewAfter === Infinity || renewAfter - at <= renewalRetryDelay);
    return !isPaused && (at >= freshUntil || at < deliveredAt);
  };

  /** Its workload is gone, and it serves no other. */
  const isOrphaned = ({ key, grant }: Entry): boolean =>
    grant.scope === 'pod' &&
    key !== keys.requestKey(grant) &&
    presence(grant.workload.instance) === 'gone';

  /** Background work: nobody waits for it, so its failure is told here. */
  const reportBackgroundFailure = (
    entry: Pick<Entry, 'provider' | 'grant'>,
    failureMessage: string,
    work: Promise<void>,
  ): void => {
    work.catch((thrown: unknown) => {
      const { code, message } = toSecretError(thrown);
      metrics.leases.inc({ provider: entry.provider.name, result: 'failed' });
      log.warn(
        { provider: entry.provider.name, ref: entry.grant.ref.name, code, err: message },
        failureMessage,
      );
    });
  };

  const revokeAtStore = async (provider: Provider, grant: Grant, lease: Lease): Promise<void> => {
    if (provider.release === undefined) return;
    metrics.leases.inc({ provider: provider.name, result: 'released' });
    await provider.release(grant, lease, AbortSignal.timeout(renewalRetryDelay));
  };

  const revoke = (provider: Provider, grant: Grant, lease: Lease): void =>
    reportBackgroundFailure(
      { provider, grant },
      'a lease could not be given back',
      revokeAtStore(provider, grant, lease),
    );

  const renew = async (entry: Entry, lease: Lease): Promise<void> => {
    const sentAt = now();
    const renewal = await entry.provider.renew?.(
      entry.grant,
      lease,
      AbortSignal.timeout(renewalRetryDelay),
    );
    // Meanwhile a denial may have dropped it, a new lease taken its place, or a confirmation its entry's.
    const current = cache.get(entry.key);
    const value = current?.value;
    if (renewal === undefined || current === undefined || value?.lease?.id !== lease.id) return;
    metrics.leases.inc({ provider: entry.provider.name, result: renewal.kind });
    if (renewal.kind === 'ended') return cache.drop(entry.key);
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
  };

  const reportRenewalStopped = ({
    provider,
    grant: { ref, workload },
    republished,
  }: Entry): void => {
    metrics.leases.inc({ provider: provider.name, result: 'lapsed' });
    const { tenant: namespace, className } = workload;
    const key = JSON.stringify([namespace, className]);
    if (warned.has(key)) return;
    warned.set(key, true);
    const hint =
      'if its pod still runs, switch on rotation in the driver, or give Keyferry --pod-watch on';
    log.warn(
      { provider: provider.name, namespace, class: className, ref: ref.name, hint },
      republished
        ? 'nobody has asked for leased secrets for an hour: they are renewed no more'
        : 'a leased secret was asked for once and never again: it is renewed no more',
    );
  };

  const dropAndRevoke = (entry: Entry, lease: Lease | undefined): void => {
    cache.drop(entry.key);
    if (lease !== undefined) revoke(entry.provider, entry.grant, lease);
  };

  /** Whether one that nobody watches has stopped asking, and what is to be done about it. */
  const inactivityOf = ({
    requestedAt,
    republished,
    grant,
  }: Entry): 'none' | 'gone' | 'unclear' => {
    const idleMs = now() - requestedAt;
    if (idleMs <= leaseIdleTimeout || presence(grant.workload.instance) === 'here') return 'none';
    if (republished && cache.republishedAt - requestedAt > leaseIdleTimeout) return 'gone';
    return republished && idleMs <= idleMaxAge ? 'none' : 'unclear';
  };

  const maintain = (entry: Entry, lease: Lease): void => {
    const inactivity = inactivityOf(entry);
    if (inactivity === 'gone') dropAndRevoke(entry, lease);
    else if (inactivity === 'unclear') {
      cache.drop(entry.key);
      reportRenewalStopped(entry);
    } else if (lease.renewable && isRenewalDue(entry)) {
      entry.renewAfter = Infinity;
      const renewing = renew(entry, lease);
      reportBackgroundFailure(entry, 'a lease could not be renewed', renewing);
      renewing.catch(() => {
        entry.renewAfter = now() + renewalRetryDelay;
      });
    }
  };

  return {
    tick() {
      detectClockJump();
      for (const entry of [...cache.entries()]) {
        const lease = entry.value?.lease;
        if (entry.value !== undefined && now() >= expiryOf(entry.value)) cache.drop(entry.key);
        else if (isOrphaned(entry)) dropAndRevoke(entry, lease);
        else if (lease !== undefined) maintain(entry, lease);
        else if (now() - entry.requestedAt > idleMaxAge) cache.drop(entry.key);
      }
    },
    revokeUnused(provider, grant, result) {
      if (result.kind === 'value' && result.value.lease !== undefined)
        revoke(provider, grant, result.value.lease);
    },
  };
}
