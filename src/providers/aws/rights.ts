import { LRUCache } from 'lru-cache';

/** A right that was missing is tried again after this long. */
const againAfterMs = 3_600_000;
const maxKept = 1_000;

/** Which of the operations that only save calls are denied to whom: learnt once for each principal, region and operation, for an hour. */
export type Rights = {
  mayTry(principal: string, region: string, operation: string): boolean;
  isDenied(principal: string, region: string, operation: string): void;
};

/** See {@link Rights}. `now`: milliseconds. */
export function createRights({ now }: { readonly now: () => number }): Rights {
  const denied = new LRUCache<string, number>({ max: maxKept });
  const keyOf = (...parts: readonly string[]): string => parts.join(' ');
  return {
    mayTry: (...which) => now() >= (denied.get(keyOf(...which)) ?? -Infinity),
    isDenied: (...which) => void denied.set(keyOf(...which), now() + againAfterMs),
  };
}
