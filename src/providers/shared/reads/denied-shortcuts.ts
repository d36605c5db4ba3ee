import { LRUCache } from 'lru-cache';
import { isRecent } from '../../../concurrency/time.ts';
import type { FetchRequest } from '../../../core/provider.ts';

/** A right that was missing is tried again after this long. */
const againAfterMs = 3_600_000;
const maxKept = 1_000;

/** Who may take which shortcut: an operation that only saves calls, so that there is another way where it is denied. */
export type Rights<Shortcut extends string> = {
  mayTake(shortcut: Shortcut, request: Pick<FetchRequest, 'grant'>): boolean;
  isDenied(shortcut: Shortcut, request: Pick<FetchRequest, 'grant'>): void;
};

/**
 * What is denied is learnt once, for an hour. Rights are those of a role, and roles are given to ServiceAccounts: so what one pod was denied,
 * the next one does not try, though each may be a principal of its own (EKS Pod Identity). Each refusal is a line in the account's audit log.
 * @param deps.now milliseconds
 */
export function createRights<Shortcut extends string>({
  now,
}: {
  readonly now: () => number;
}): Rights<Shortcut> {
  const denied = new LRUCache<string, number>({ max: maxKept });
  const keyOf = (shortcut: Shortcut, { grant }: Pick<FetchRequest, 'grant'>): string => {
    const { ref, principal, workload } = grant;
    return JSON.stringify([
      ...[shortcut, ref.region, ref.endpoint, ref.role, principal.identity],
      ...[workload.namespace, workload.serviceAccount.name],
    ]);
  };
  return {
    mayTake: (...which) => !isRecent(denied.get(keyOf(...which)), againAfterMs, now()),
    isDenied: (...which) => void denied.set(keyOf(...which), now()),
  };
}
