import type { SecretError } from '../core/errors.ts';
import type { SecretRef } from '../core/plan.ts';
import type { SecretValue } from '../core/provider.ts';

/**
 * How fresh what we serve has to be: the one table of the house, all times in milliseconds.
 *
 * | what                         | rule                                                                                    |
 * |------------------------------|-----------------------------------------------------------------------------------------|
 * | admission                    | read anew for a workload not yet served; otherwise up to `admissionMaxAge` old           |
 * | the store's authorization    | a new workload is served from the cache up to `authorizationMaxAge` after a delivery     |
 * | moving versions              | asked again after the refresh interval; jitter only shortens it                         |
 * | leased, or with an end       | until two thirds of its life                                                            |
 * | methods other than GET       | `methodLife`, where the answer has no end of its own                                    |
 * | absent, for who was served   | as moving versions; a new workload always asks                                          |
 * | outage                       | the last good value up to `maxStale` after its delivery, never past its end             |
 * | denied, disabled or gone     | drops the value at once                                                                 |
 */
export const workloadAuthorizationMaxAge = 60_000;
export const storeAuthorizationMaxAge = 15 * 60_000;
export const nonGetMaxAge = 60 * 60_000;
/** A lease nobody asked for this long is given back, while others ask. */
export const leaseIdleTimeout = 10 * 60_000;
/** What nobody asked for this long is forgotten. */
export const idleMaxAge = 60 * 60_000;
/** How long a read may take once the rate budget lets it go. */
export const readTimeout = 30_000;

/** What an operator may choose. */
export type FreshnessOptions = {
  /** How long a moving version is served without a further question. */
  readonly refreshInterval: number;
  /** How long after its delivery a value may serve while nobody answers; 0 = never. */
  readonly maxStale: number;
};

/** What the store last said of a ref, and when: a value, or that there is none. */
export type CachedResult = {
  readonly value?: SecretValue;
  readonly absentError?: SecretError;
  /** When a value was last delivered (or its lease renewed): what authorization counts from. */
  readonly deliveredAt: number;
  /** When it has to be asked again. */
  readonly freshUntil: number;
};

/** When the value ends, whatever else holds; Infinity where it does not. */
export function expiryOf(value: SecretValue): number {
  return Math.min(value.expiresAt ?? Infinity, value.lease?.expiresAt ?? Infinity);
}

/** When a value asked for at `askedAt` has to be asked for again. `random` is in [0, 1). */
export function freshUntil(
  ref: SecretRef,
  value: SecretValue | undefined,
  sentAt: number,
  refreshInterval: number,
  random: number,
): number {
  const expiry = value === undefined ? Infinity : expiryOf(value);
  if (expiry !== Infinity) return sentAt + ((expiry - sentAt) * 2) / 3;
  if (value?.immutable === true) return Infinity;
  if (value !== undefined && ref.method !== undefined && ref.method !== 'GET')
    return sentAt + nonGetMaxAge;
  return sentAt + refreshInterval * (1 - random / 10);
}

/** Whether a cached answer serves as it is, or has to be asked for again: with or without telling what is known. */
export function classifyFreshness(
  cachedResult: CachedResult | undefined,
  alreadyDelivered: boolean,
  now: number,
): 'serve' | 'confirm' | 'read' {
  if (cachedResult === undefined) return 'read';
  // What was delivered in the future was so before the clock was set back, nobody knows when.
  const isFresh = cachedResult.deliveredAt <= now && now < cachedResult.freshUntil;
  if (cachedResult.value === undefined) return alreadyDelivered && isFresh ? 'serve' : 'read';
  if (now >= expiryOf(cachedResult.value)) return 'read';
  // `unchanged` renews freshness, not authorization, so a new workload past that age needs a delivery.
  const age = now - cachedResult.deliveredAt;
  if (!alreadyDelivered && (age < 0 || age > storeAuthorizationMaxAge)) return 'read';
  return isFresh ? 'serve' : 'confirm';
}

/** The value that may serve although nobody answers, if there is one. */
export function lastKnownGood(
  cachedResult: CachedResult | undefined,
  maxStale: number,
  now: number,
): SecretValue | undefined {
  const value = cachedResult?.value;
  if (cachedResult === undefined || value === undefined || maxStale === 0) return undefined;
  // In the future: before the clock was set back.
  return now < expiryOf(value) && Math.abs(now - cachedResult.deliveredAt) <= maxStale
    ? value
    : undefined;
}
