import { SecretError } from '../../core/errors.ts';
import type { HostStore } from '../../core/host-store.ts';
import type { FetchRequest, FetchResult } from '../../core/provider.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';

/**
 * The store without its credentials with an end: in local mode nothing would renew them or give
 * them back. One that a read has made is given back at once, and the read fails.
 * @param name of the store, for messages
 */
export function refuseLeases(store: HostStore, name: string): HostStore {
  const refuseLease = async (
    { grant, signal }: FetchRequest,
    result: FetchResult,
  ): Promise<FetchResult> => {
    const lease = result.kind === 'value' ? result.value.lease : undefined;
    if (lease === undefined) return result;
    // If it cannot be given back, it ends by itself.
    await store.release?.(grant, lease, signal).catch(() => undefined);
    const error = new SecretError(
      'NOT_CONFIGURED',
      `${sanitizeUserText(name)}: ${sanitizeUserText(grant.ref.name)} is a credential with an end, and in local mode nothing renews it`,
      { hint: 'start its service with the agent: sudo docker dso system setup' },
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
