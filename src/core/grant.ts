import type { SecretRef } from './plan.ts';
import type { Grant, Principal } from './provider.ts';
import type { Workload } from './workload.ts';

/**
 * Makes a grant. Only a provider's `authorize` calls it, after it has decided that the workload may
 * read the ref. dependency-cruiser checks that only files named `authorize.ts` import it. Other
 * code can copy a grant that it has: the cache keeps a copy without the pod's tokens and keys.
 */
export function grant<Credentials>(fields: {
  readonly ref: SecretRef;
  readonly principal: Principal<Credentials>;
  readonly workload: Workload;
  readonly scope?: 'principal' | 'pod';
  readonly fallbacks?: readonly Grant<Credentials>[];
}): Grant<Credentials> {
  const { ref, principal, workload, scope = 'principal', fallbacks = [] } = fields;
  return { ref, principal, workload, scope, fallbacks } as unknown as Grant<Credentials>;
}
