import { LRUCache } from 'lru-cache';
import { isRecent } from '../../../concurrency/time.ts';
import type { FetchRequest } from '../../../core/provider.ts';

/** A right that was missing is tried again after this long. */
const retryAfterMs = 3_600_000;
const maxEntries = 1_000;

/** Who may take which shortcut: an operation that only saves calls, so that there is another way where it is denied. */
export type DeniedShortcuts<Shortcut extends string> = {
  isAllowed(shortcut: Shortcut, request: Pick<FetchRequest, 'grant'>): boolean;
  recordDenied(shortcut: Shortcut, request: Pick<FetchRequest, 'grant'>): void;
};

/**
 * What is denied is learnt once, for an hour. Rights are those of a role, and roles are given to ServiceAccounts: so what one pod was denied,
 * the next one does not try, though each may be a principal of its own (EKS Pod Identity). Each refusal is a line in the account's audit log.
 * @param deps.now milliseconds
 */
export function createDeniedShortcuts<Shortcut extends string>({
  now,
}: {
  readonly now: () => number;
}): DeniedShortcuts<Shortcut> {
  const denied = new LRUCache<string, number>({ max: maxEntries });
  const keyOf = (shortcut: Shortcut, { grant }: Pick<FetchRequest, 'grant'>): string => {
    const { ref, principal, workload } = grant;
    return JSON.stringify([
      ...[shortcut, ref.region, ref.endpoint, ref.role, principal.identity],
      ...[workload.tenant, workload.identity.name],
    ]);
  };
  return {
    isAllowed: (...args) => !isRecent(denied.get(keyOf(...args)), retryAfterMs, now()),
    recordDenied: (...args) => void denied.set(keyOf(...args), now()),
  };
}
