import { LRUCache } from 'lru-cache';
import { isRecent } from '../../../concurrency/time.ts';
import type { FetchRequest } from '../../../core/provider.ts';

/** After this time the provider tries a denied operation again. */
const retryAfterMs = 3_600_000;
const maxEntries = 1_000;

/**
 * Remembers for an hour which operations a store denied, where the operation only saves calls and
 * another one does the same (BatchGetSecretValue). Each denial is a line in the account's audit
 * log.
 *
 * Permissions belong to a role, and roles belong to ServiceAccounts. So a denial counts for all
 * pods of a ServiceAccount, although each pod can be a principal of its own (EKS Pod Identity).
 */
export class DeniedShortcuts<Shortcut extends string> {
  readonly #now: () => number;
  readonly #deniedAt = new LRUCache<string, number>({ max: maxEntries });

  /** @param options.now milliseconds */
  constructor({ now }: { readonly now: () => number }) {
    this.#now = now;
  }

  isAllowed(shortcut: Shortcut, request: Pick<FetchRequest, 'grant'>): boolean {
    const deniedAt = this.#deniedAt.get(keyOf(shortcut, request));
    return !isRecent(deniedAt, retryAfterMs, this.#now());
  }

  recordDenied(shortcut: Shortcut, request: Pick<FetchRequest, 'grant'>): void {
    this.#deniedAt.set(keyOf(shortcut, request), this.#now());
  }
}

function keyOf(shortcut: string, { grant }: Pick<FetchRequest, 'grant'>): string {
  const { ref, principal, workload } = grant;
  return JSON.stringify([
    ...[shortcut, ref.region, ref.endpoint, ref.role, principal.kind],
    ...[workload.tenant, workload.identity.name],
  ]);
}
