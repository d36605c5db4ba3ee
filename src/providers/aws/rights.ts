import { LRUCache } from 'lru-cache';
import type { Request } from './batches.ts';

/** A right that was missing is tried again after this long. */
const againAfterMs = 3_600_000;
const maxKept = 1_000;

/** An operation that only saves calls: there is another way where policies deny it. */
export type Shortcut = 'BatchGetSecretValue' | 'DescribeSecret';

/** Who may take which shortcut: what is denied is learnt once, for an hour. */
export type Rights = {
  mayTake(shortcut: Shortcut, request: Request): boolean;
  isDenied(shortcut: Shortcut, request: Request): void;
};

/**
 * Rights are those of a role, and roles are given to ServiceAccounts: so what one pod was denied, the next one does not try, though with Pod
 * Identity each is a principal of its own. Each refusal is a line in the account's CloudTrail.
 * @param now milliseconds
 */
export function createRights({ now }: { readonly now: () => number }): Rights {
  const denied = new LRUCache<string, number>({ max: maxKept });
  const keyOf = (shortcut: Shortcut, { grant }: Request): string => {
    const { ref, principal, workload } = grant;
    return JSON.stringify([
      ...[shortcut, ref.region, principal.identity],
      ...[workload.namespace, workload.serviceAccount.name],
    ]);
  };
  return {
    mayTake: (...which) => now() >= (denied.get(keyOf(...which)) ?? -Infinity),
    isDenied: (...which) => void denied.set(keyOf(...which), now() + againAfterMs),
  };
}
