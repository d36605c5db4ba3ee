import { SecretError } from '../../core/errors.ts';
import type { HostStore } from '../../core/host-store.ts';
import type { FetchRequest, FetchResult } from '../../core/provider.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';

/** Which reads must not make a credential with an end, and what to tell the user. */
export type LeaseRefusal = {
  /** By `instance` of the workload. */
  readonly isRefused: (instance: string) => boolean;
  /** Why, as words that follow "and". */
  readonly reason: string;
  readonly hint: string;
};

/**
 * The store without its credentials with an end, where nothing would renew them or give them back.
 * One that a read has made is given back at once, and the read fails.
 * @param name of the store, for messages
 */
export function refuseLeases(
  store: HostStore,
  name: string,
  { isRefused, reason, hint }: LeaseRefusal,
): HostStore {
  const refuseLease = async (
    { grant, signal }: FetchRequest,
    result: FetchResult,
  ): Promise<FetchResult> => {
    const lease = result.kind === 'value' ? result.value.lease : undefined;
    if (lease === undefined || !isRefused(grant.workload.instance)) return result;
    // If it cannot be given back, it ends by itself.
    await store.release?.(grant, lease, signal).catch(() => undefined);
    const error = new SecretError(
      'NOT_CONFIGURED',
      `${sanitizeUserText(name)}: ${sanitizeUserText(grant.ref.name)} is a credential with an end, and ${reason}`,
      { hint },
    );
    return { kind: 'failed', error };
  };
  return {
    ...store,
    fetch: (requests) => {
      const results = store.fetch(requests);
      return requests.map(async (request, index) => {
        const result = await results[index];
        if (result === undefined) throw new SecretError('INTERNAL', 'a read has no result');
        return refuseLease(request, result);
      });
    },
  };
}
