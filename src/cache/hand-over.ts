import { toOwnBuffer } from '../formats/own-buffer.ts';
import type { HandedOverLease } from '../core/handed-over-lease.ts';
import { refKey } from '../core/plan.ts';
import type { Grant, Provider } from '../core/provider.ts';
import { Redacted } from '../core/redacted.ts';
import { stripCredentials } from './apply-result.ts';
import type { Entry, EntryCache } from './entries.ts';

/** The leases of a cache whose providers can hand them over. */
export function handOverLeases(cache: EntryCache): readonly HandedOverLease[] {
  return [...cache.entries()].flatMap(({ provider, grant, value, deliveredAt, freshUntil }) => {
    if (grant === undefined || value?.lease === undefined) return [];
    const secret = provider.handOver?.(grant, value.lease);
    if (secret === undefined) return [];
    const { bytes, lease, ...rest } = value;
    return [
      {
        ...{ provider: provider.name, instance: grant.workload.instance, ref: refKey(grant.ref) },
        ...{ value: { ...rest, lease }, bytes: Buffer.from(bytes).toString('base64') },
        ...{ secret: secret.reveal(), deliveredAt, freshUntil },
      },
    ];
  });
}

/** The entry of a lease of an earlier process; undefined if the lease cannot be kept. */
export function takeOverLease(
  provider: Provider,
  grant: Grant,
  { value, bytes, secret, deliveredAt, freshUntil }: HandedOverLease,
): Pick<Entry, 'value' | 'grant' | 'deliveredAt' | 'freshUntil'> | undefined {
  const lease = provider.takeOver?.(grant, value.lease, new Redacted(secret));
  if (lease === undefined) return undefined;
  return {
    value: {
      ...value,
      ...{ bytes: toOwnBuffer(Buffer.from(bytes, 'base64')), lease },
      ...(value.expiresAt !== undefined && { expiresAt: lease.expiresAt }),
    },
    grant: stripCredentials(grant),
    ...{ deliveredAt, freshUntil },
  };
}
