import type { SecretError } from '../core/errors.ts';
import type { SecretRef } from '../core/plan.ts';
import type { SecretValue } from '../core/provider.ts';

/*
 * How fresh a served value has to be. All times are in milliseconds.
 *
 * | what                         | rule                                                           |
 * |------------------------------|----------------------------------------------------------------|
 * | the workload's authorization | checked again for a workload that has received nothing         |
 * |                              | yet; otherwise up to `workloadAuthorizationMaxAgeMs` old       |
 * | the store's authorization    | a new workload is served from the cache up to                  |
 * |                              | `storeAuthorizationMaxAgeMs` after a delivery                  |
 * | moving versions              | read again after the refresh interval; jitter only shortens it |
 * | a lease or an expiry         | until two thirds of the life                                   |
 * | methods other than GET       | `nonGetMaxAgeMs`, if the value has no expiry                   |
 * | absent                       | as moving versions; a new workload always reads                |
 * | outage                       | the last good value up to `maxStaleMs` after its delivery,     |
 * |                              | never after its expiry                                         |
 * | denied, disabled or deleted  | drops the value at once                                        |
 */
export const workloadAuthorizationMaxAgeMs = 60_000;
const storeAuthorizationMaxAgeMs = 15 * 60_000;
const nonGetMaxAgeMs = 60 * 60_000;
/** A lease without a request for this long is released, while other workloads send requests. */
export const leaseIdleTimeoutMs = 10 * 60_000;
/** An entry without a request for this long is dropped. */
export const idleMaxAgeMs = 60 * 60_000;
/** How long a read may take after the rate limiter has allowed it. */
export const readTimeoutMs = 30_000;

/** What an operator can configure, per provider; milliseconds. */
export type FreshnessOptions = {
  /** How long a moving version is served without another read. */
  readonly refreshIntervalMs: number;
  /** How long after its delivery a value may serve during an outage; 0 = never. */
  readonly maxStaleMs: number;
};

/** The last result of reading a ref, and its time: a value, or that the secret is absent. */
export type CachedResult = {
  readonly value?: SecretValue;
  readonly absentError?: SecretError;
  /**
   * When the store last delivered the value or renewed its lease. Authorization counts from here.
   */
  readonly deliveredAt: number;
  /** When it has to be read again. */
  readonly freshUntil: number;
};

/** When the value expires; Infinity if it does not. */
export function expiryOf(value: SecretValue): number {
  return Math.min(value.expiresAt ?? Infinity, value.lease?.expiresAt ?? Infinity);
}

/** When a value whose request was sent at `sentAt` has to be read again. `random` is in [0, 1). */
export function computeFreshUntil(
  ref: SecretRef,
  value: SecretValue | undefined,
  sentAt: number,
  refreshIntervalMs: number,
  random: number,
): number {
  const expiry = value === undefined ? Infinity : expiryOf(value);
  if (expiry !== Infinity) return sentAt + ((expiry - sentAt) * 2) / 3;
  if (value?.immutable === true) return Infinity;
  if (value !== undefined && ref.method !== undefined && ref.method !== 'GET')
    return sentAt + nonGetMaxAgeMs;
  return sentAt + refreshIntervalMs * (1 - random / 10);
}

/**
 * Whether a cached result serves as it is, or needs a read: `confirm` sends the known version, so
 * that the store may return `unchanged`; `read` does not.
 */
export function classifyFreshness(
  cachedResult: CachedResult | undefined,
  alreadyDelivered: boolean,
  now: number,
): 'serve' | 'confirm' | 'read' {
  if (cachedResult === undefined) return 'read';
  // A delivery in the future was recorded before the clock was set back; its age is unknown.
  const isFresh = cachedResult.deliveredAt <= now && now < cachedResult.freshUntil;
  if (cachedResult.value === undefined) return alreadyDelivered && isFresh ? 'serve' : 'read';
  if (now >= expiryOf(cachedResult.value)) return 'read';
  // `unchanged` renews freshness, not authorization, so a new workload past that age needs a
  // delivery.
  const age = now - cachedResult.deliveredAt;
  if (!alreadyDelivered && (age < 0 || age > storeAuthorizationMaxAgeMs)) return 'read';
  return isFresh ? 'serve' : 'confirm';
}

/** The value that may serve during an outage, if there is one. */
export function lastKnownGood(
  cachedResult: CachedResult | undefined,
  maxStaleMs: number,
  now: number,
): SecretValue | undefined {
  const value = cachedResult?.value;
  if (cachedResult === undefined || value === undefined || maxStaleMs === 0) return undefined;
  // A delivery in the future was recorded before the clock was set back.
  return now < expiryOf(value) && Math.abs(now - cachedResult.deliveredAt) <= maxStaleMs
    ? value
    : undefined;
}
