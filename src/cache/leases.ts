import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { toSecretError } from '../core/errors.ts';
import type { FetchResult, Grant, Lease, Provider } from '../core/provider.ts';
import type { Cache, Entry } from './entries.ts';
import { endOf, idleMaxAge, leaseGrace } from './freshness.ts';
import type { EntryKeys } from './keys.ts';
import type { StoreMetrics } from './metrics.ts';

/** See {@link createLeaseClock}. */
export type LeaseClock = {
  /** Renews, gives back and forgets what is due. */
  tick(): void;
  /** Gives back the lease of an answer that cannot be kept, if it has one. */
  giveBack(provider: Provider, grant: Grant, result: FetchResult): void;
};

/** Whether a workload instance still runs, as far as somebody watches. `unknown`: what it asks for is all that is known. */
export type Presence = (instance: string) => 'here' | 'gone' | 'unknown';

/** Waits between attempts to renew a lease when nobody answers. */
const renewalPause = 10_000;

/** So long between two ticks, which come every second: the clock was set forward, or the machine stood still. */
const leap = 60_000;

/** Classes that are remembered to have been warned of. */
const maxWarned = 1_000;

/**
 * Keeps leases alive while their workloads run: renewed at two thirds of their life, given back when the instance they were read for is gone. Of an
 * instance that nobody watches its requests tell: after ten minutes without any, while others' come, a lease is given back. Where none ever came after
 * the first mount, the driver may not rotate; where nobody's come, the driver or the kubelet is away. Workloads may run all the same: such a lease is left
 * to its end, at once or after an hour of renewals. It also forgets whatever has ended or lain idle.
 */
export function createLeaseClock(deps: {
  readonly cache: Cache;
  readonly keys: Pick<EntryKeys, 'question'>;
  readonly presence: Presence;
  readonly now: () => number;
  readonly metrics: StoreMetrics;
  readonly log: Logger;
}): LeaseClock {
  const { cache, keys, presence, now, metrics, log } = deps;
  const warned = new LRUCache<string, true>({ max: maxWarned });

  let tickedAt = now();

  /** A clock that is set makes no pod silent. */
  const noticeLeap = (): void => {
    const at = now();
    const passed = at - tickedAt;
    tickedAt = at;
    if (passed < 0 || passed > leap) cache.leapt(at, passed);
  };

  /** Whether to renew it; also what is from before the clock was set back, whose times say nothing. */
  const isDue = ({ freshUntil, deliveredAt, renewAfter = 0 }: Entry): boolean => {
    const at = now();
    const isPaused = at < renewAfter && (renewAfter === Infinity || renewAfter - at <= renewalPause);
    return !isPaused && (at >= freshUntil || at < deliveredAt);
  };

  /** Its workload is gone, and it serves no other. */
  const isOrphan = ({ key, grant }: Entry): boolean =>
    grant.scope === 'pod' && key !== keys.question(grant) && presence(grant.workload.instance) === 'gone';

  /** Background work: nobody waits for it, so its failure is told here. */
  const supervise = (entry: Pick<Entry, 'provider' | 'grant'>, what: string, work: Promise<void>): void => {
    work.catch((thrown: unknown) => {
      const { code, message } = toSecretError(thrown);
      metrics.leases.inc({ provider: entry.provider.name, result: 'failed' });
      log.warn({ provider: entry.provider.name, ref: entry.grant.ref.name, code, err: message }, what);
    });
  };

  const askToRelease = async (provider: Provider, grant: Grant, lease: Lease): Promise<void> => {
    if (provider.release === undefined) return;
    metrics.leases.inc({ provider: provider.name, result: 'released' });
    await provider.release(grant, lease, AbortSignal.timeout(renewalPause));
  };

  const release = (provider: Provider, grant: Grant, lease: Lease): void =>
    supervise({ provider, grant }, 'a lease could not be given back', askToRelease(provider, grant, lease));

  const renew = async (entry: Entry, lease: Lease): Promise<void> => {
    const askedAt = now();
    const answer = await entry.provider.renew?.(entry.grant, lease, AbortSignal.timeout(renewalPause));
    // Meanwhile a denial may have dropped it, a new lease taken its place, or a confirmation its entry's.
    const current = cache.get(entry.key);
    const value = current?.value;
    if (answer === undefined || current === undefined || value?.lease?.id !== lease.id) return;
    metrics.leases.inc({ provider: entry.provider.name, result: answer.kind });
    if (answer.kind === 'ended') return cache.drop(entry.key);
    const { expiresAt } = answer;
    cache.put({
      ...current,
      value: {
        ...value,
        lease: { ...lease, expiresAt },
        ...(value.expiresAt !== undefined && { expiresAt }),
      },
      deliveredAt: askedAt,
      freshUntil: askedAt + ((expiresAt - askedAt) * 2) / 3,
      renewAfter: 0,
    });
  };

  const leaveToItsEnd = ({ provider, grant: { ref, workload }, republished }: Entry): void => {
    metrics.leases.inc({ provider: provider.name, result: 'lapsed' });
    const { namespace, className } = workload;
    const key = JSON.stringify([namespace, className]);
    if (warned.has(key)) return;
    warned.set(key, true);
    const hint = 'if its pod still runs, switch on rotation in the driver, or give Keyferry --pod-watch on';
    log.warn(
      { provider: provider.name, namespace, class: className, ref: ref.name, hint },
      republished
        ? 'nobody has asked for leased secrets for an hour: they are renewed no more'
        : 'a leased secret was asked for once and never again: it is renewed no more',
    );
  };

  const drop = (entry: Entry, lease: Lease | undefined): void => {
    cache.drop(entry.key);
    if (lease !== undefined) release(entry.provider, entry.grant, lease);
  };

  /** Whether one that nobody watches has stopped asking, and what is to be done about it. */
  const silenceOf = ({ requestedAt, republished, grant }: Entry): 'none' | 'gone' | 'unclear' => {
    const silentMs = now() - requestedAt;
    if (silentMs <= leaseGrace || presence(grant.workload.instance) === 'here') return 'none';
    if (republished && cache.republishedAt - requestedAt > leaseGrace) return 'gone';
    return republished && silentMs <= idleMaxAge ? 'none' : 'unclear';
  };

  const tend = (entry: Entry, lease: Lease): void => {
    const silence = silenceOf(entry);
    if (silence === 'gone') drop(entry, lease);
    else if (silence === 'unclear') {
      cache.drop(entry.key);
      leaveToItsEnd(entry);
    } else if (lease.renewable && isDue(entry)) {
      entry.renewAfter = Infinity;
      const done = renew(entry, lease);
      supervise(entry, 'a lease could not be renewed', done);
      done.catch(() => {
        entry.renewAfter = now() + renewalPause;
      });
    }
  };

  return {
    tick() {
      noticeLeap();
      for (const entry of [...cache.entries()]) {
        const lease = entry.value?.lease;
        if (entry.value !== undefined && now() >= endOf(entry.value)) cache.drop(entry.key);
        else if (isOrphan(entry)) drop(entry, lease);
        else if (lease !== undefined) tend(entry, lease);
        else if (now() - entry.requestedAt > idleMaxAge) cache.drop(entry.key);
      }
    },
    giveBack(provider, grant, result) {
      if (result.kind === 'value' && result.value.lease !== undefined)
        release(provider, grant, result.value.lease);
    },
  };
}
