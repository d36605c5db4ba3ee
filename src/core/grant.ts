import type { SecretRef } from './plan.ts';
import type { Grant, Principal } from './provider.ts';
import type { Workload } from './workload.ts';

/**
 * Makes a grant. To be called by a provider's `admit` alone, once it has decided that the workload may read the ref:
 * dependency-cruiser holds that only files called `admit.ts` import this.
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
