import type { Logger } from 'pino';
import { withTimeout } from '../concurrency/single-flight.ts';
import { SecretError, toSecretError } from '../core/errors.ts';
import type { SecretRef } from '../core/plan.ts';
import type { FetchRequest, Grant, Outcome, Provider, SecretValue } from '../core/provider.ts';
import { createFiling } from './apply-result.ts';
import { createCache } from './entries.ts';
import { type FreshnessOptions, judge, lastGood } from './freshness.ts';
import { createBatcher, createFlights } from './in-flight-reads.ts';
import { createEntryKeys, createServed, isShareable } from './keys.ts';
import { type Presence, createLeaseClock } from './leases.ts';
import type { StoreMetrics } from './metrics.ts';

/** Who waits for a read, and how long. */
export type Waiter = {
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly deadline: number;
};

/** What {@link createSecretStore} needs. */
export type SecretStoreDeps = {
  readonly now: () => number;
  /** In [0, 1). */
  readonly random: () => number;
  /** Bytes of cached secrets; default 32 MiB. */
  readonly maxBytes?: number;
  readonly freshness: (provider: string) => FreshnessOptions;
  readonly metrics: (bytes: () => number) => StoreMetrics;
  readonly log: Logger;
  /** Who watches the workloads; default nobody. */
  readonly presence?: Presence;
  /** See FlightsDeps. */
  readonly flightTimeout?: number;
};

/** Reads secrets for grants: from its cache where the freshness table allows, else from the provider, once for all who ask. */
export type SecretStore = {
  /**
   * One outcome a grant, in order.
   * @throws SecretError the waiter's own: its deadline, or its leaving.
   */
  read(provider: Provider, grants: readonly Grant[], waiter: Waiter): Promise<readonly Outcome[]>;
  /** Takes down that a mount has succeeded with these outcomes: from now on its workload is no new one for these secrets. */
  remember(grants: readonly Grant[], outcomes: readonly Outcome[]): void;
  /** Whether this process has served this grant's secret to this grant's workload before. */
  hasServed(grant: Grant): boolean;
  /** Renews, gives back and forgets what is due. Called once a second. */
  tick(): void;
};

/** An attempt at one grant, fallbacks aside. */
type Attempt =
  | { readonly kind: 'value'; readonly value: SecretValue; readonly source: 'cache' | 'store' }
  | { readonly kind: 'absent' | 'failed'; readonly error: SecretError };

/** See {@link SecretStore}. */
export function createSecretStore(deps: SecretStoreDeps): SecretStore {
  const { now, random, freshness, log, maxBytes = 32 * 1024 * 1024, presence = () => 'unknown' } = deps;
  const cache = createCache({ maxBytes });
  const metrics = deps.metrics(() => cache.bytes);
  const served = createServed();
  const keys = createEntryKeys();
  const leases = createLeaseClock({ cache, keys, presence, now, metrics, log });
  const filing = createFiling({ cache, keys, leases, metrics, freshness, now, random });
  const flights = createFlights({
    ask: createBatcher(),
    now,
    stray: filing.stray,
    ...(deps.flightTimeout !== undefined && { timeout: deps.flightTimeout }),
  });

  const hasServed = (grant: Grant): boolean =>
    served.has(grant.workload.instance, keys.question(grant)) || grant.fallbacks.some(hasServed);

  /** What the cache alone can answer. */
  const cached = (provider: Provider, grant: Grant): Attempt | undefined => {
    const entry = cache.get(keys.entry(grant));
    if (entry === undefined) return undefined;
    const at = now();
    const alreadyServed = served.has(grant.workload.instance, keys.question(grant));
    cache.asked(entry, at, alreadyServed);
    if (judge(entry, alreadyServed, at) !== 'serve') return undefined;
    const { value, absence } = entry;
    if (absence !== undefined) return { kind: 'absent', error: absence };
    return value && { kind: 'value', value, source: 'cache' };
  };

  /** Joins the flight under way, or begins one, and waits for it. */
  const fly = async (
    provider: Provider,
    grant: Grant,
    signal: AbortSignal,
  ): Promise<Attempt | 'not for us'> => {
    const key = keys.entry(grant);
    const entry = cache.get(key);
    const alreadyServed = served.has(grant.workload.instance, keys.question(grant));
    const known = judge(entry, alreadyServed, now()) === 'confirm' ? entry?.value : undefined;
    // Who needs a delivery has nothing yet, whatever is cached for others.
    const urgency = known && lastGood(entry, freshness(provider.name).maxStale, now()) ? 'refresh' : 'first';
    const joined = flights.underWay(key);
    const question = {
      provider,
      grant,
      urgency,
      ...(known && { known: knownOf(known) }),
    } as const;
    const flight = joined ?? flights.begin(key, question, filing.landing(provider, grant, known));
    const result = await flight.join(signal);
    switch (result.kind) {
      case 'value':
        return joined === undefined || mayTake(grant, result.value, joined.instance)
          ? { kind: 'value', value: result.value, source: 'store' }
          : 'not for us';
      case 'unchanged': {
        const filed = cache.get(key);
        return filed?.value !== undefined && judge(filed, alreadyServed, now()) !== 'read'
          ? { kind: 'value', value: filed.value, source: 'store' }
          : 'not for us';
      }
      case 'absent':
        return result;
      case 'failed':
        return joined?.urgency === 'refresh' &&
          urgency === 'first' &&
          result.error.code === 'RATE_BUDGET_EXHAUSTED'
          ? 'not for us'
          : result;
    }
  };

  /** One grant, from the cache or from the store. */
  const attempt = async (provider: Provider, grant: Grant, signal: AbortSignal): Promise<Attempt> => {
    // A flight may turn out not to be for us: another pod's lease, a confirmation where we need a delivery, a refresh that gave way
    // to first mounts. Then we look again; nobody needs more than three rounds.
    for (let round = 0; round < 4; round++) {
      const answer = cached(provider, grant) ?? (await fly(provider, grant, signal));
      if (answer !== 'not for us') return answer;
    }
    return { kind: 'failed', error: goesRound(provider, grant.ref) };
  };

  /** A grant; on an outage its fallbacks in order, then the last good value of the grant itself. */
  const readOne = async (provider: Provider, grant: Grant, waiter: Waiter): Promise<Outcome> => {
    const { ref } = grant;
    const stale = (): SecretValue | undefined =>
      lastGood(cache.get(keys.entry(grant)), freshness(provider.name).maxStale, now());
    const deliver = (by: Grant, value: SecretValue, source: string): Outcome => {
      metrics.served.inc({ provider: provider.name, source });
      return { kind: 'value', ref, served: by.ref, value };
    };
    const candidates = [grant, ...grant.fallbacks];
    let outage: SecretError | undefined;
    for (const [index, candidate] of candidates.entries()) {
      const more = index < candidates.length - 1 || stale() !== undefined;
      const result =
        cached(provider, candidate) ??
        (await patiently(waiter, more, now, candidate.ref, (signal) => attempt(provider, candidate, signal)));
      if (result.kind === 'value') {
        return deliver(candidate, result.value, candidate === grant ? result.source : 'fallback');
      }
      // A fallback that fails, however it does, fails alone: the primary's outage is the cause to be told.
      if (candidate === grant && result.error.kind !== 'outage') return { ...result, ref };
      outage ??= result.error;
      // Our own budget is no outage of the store: what is cached serves before another region is asked.
      if (outage.code === 'RATE_BUDGET_EXHAUSTED' && stale() !== undefined) break;
    }
    const value = stale();
    const deferred = outage?.code === 'RATE_BUDGET_EXHAUSTED';
    if (value !== undefined) return deliver(grant, value, deferred ? 'deferred' : 'last-good');
    return { kind: 'failed', ref, error: outage ?? goesRound(provider, ref) };
  };

  /** All grants from the cache at one look, as most mounts are answered; none where one of them has to ask. */
  const readCached = (provider: Provider, grants: readonly Grant[]): readonly Outcome[] | undefined => {
    const outcomes: Outcome[] = [];
    for (const grant of grants) {
      const found = cached(provider, grant);
      if (found?.kind !== 'value') return undefined;
      outcomes.push({ kind: 'value', ref: grant.ref, served: grant.ref, value: found.value });
    }
    metrics.served.inc({ provider: provider.name, source: 'cache' }, outcomes.length);
    return outcomes;
  };

  return {
    async read(provider, grants, waiter) {
      return (
        readCached(provider, grants) ?? Promise.all(grants.map((grant) => readOne(provider, grant, waiter)))
      );
    },
    remember(grants, outcomes) {
      grants.forEach((grant, index) => {
        const outcome = outcomes[index];
        // The primary, or the fallback that stood in for it.
        const by = outcome?.kind === 'value' ? outcome.served : grant.ref;
        const server = grant.fallbacks.find(({ ref }) => ref === by) ?? grant;
        served.add(grant.workload.instance, keys.question(server));
      });
    },
    hasServed,
    tick: leases.tick,
  };
}

/**
 * An attempt with at most half of the remaining time where others may follow it. Only the waiter's own signal rejects.
 */
async function patiently(
  { signal, deadline }: Waiter,
  othersFollow: boolean,
  now: () => number,
  ref: SecretRef,
  work: (signal: AbortSignal) => Promise<Attempt>,
): Promise<Attempt> {
  if (!othersFollow) return work(signal);
  try {
    return await withTimeout(Math.max(0, (deadline - now()) / 2), signal, () => gaveUp(ref), work);
  } catch (error) {
    signal.throwIfAborted();
    return { kind: 'failed', error: toSecretError(error) };
  }
}

/** Whether a value that came by another's flight may serve this grant. */
function mayTake(grant: Grant, value: SecretValue, beganBy: string): boolean {
  return grant.scope === 'principal' || grant.workload.instance === beganBy || isShareable(value);
}

function knownOf({ version, lease }: SecretValue): NonNullable<FetchRequest['known']> {
  return { ...(version !== undefined && { version }), ...(lease !== undefined && { lease }) };
}

function gaveUp(ref: SecretRef): SecretError {
  return new SecretError('STORE_TIMEOUT', `${ref.service} did not answer for ${ref.name} in time`);
}

function goesRound(provider: Provider, ref: SecretRef): SecretError {
  return new SecretError(
    'INTERNAL',
    `${provider.name}: reading ${ref.service} ${ref.name} went round in circles`,
  );
}
