import type { Plan } from '../../plan/plan.ts';
import type { Workload } from '../../plan/workload.ts';
import { grant } from '../grant.ts';
import type { Admission, Grant } from '../provider.ts';
import type { SharedIdentity } from '../shared-identity.ts';
import { createBaseIdentity, type BaseIdentity, type BaseIdentityDeps } from './base-identity.ts';
import type { VaultSession } from './identity.ts';
import type { VaultLogin } from './login.ts';
import type { PrincipalOf } from './principals.ts';
import { withoutQuery } from './secret-path.ts';
import { checkSharedLogin, checkSharedPath } from './shared-login.ts';

/** See {@link createAdmit}. */
export type AdmitDeps = BaseIdentityDeps & {
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
  readonly principalOf: PrincipalOf;
};

/**
 * Decides whose rights serve a pod. With the workload's own identity Vault decides about paths and methods. What the operator configured for all serves only
 * what the operator granted, by the operator's own login; it never stands in for an identity of the pod's own that does not do.
 */
export function createAdmit({ sharedIdentity, principalOf, ...deps }: AdmitDeps) {
  const identityOf = createBaseIdentity(deps);

  function checkShared(workload: Workload, { refs, login }: Plan<VaultLogin>, base: BaseIdentity): void {
    checkSharedLogin(login, deps.settings.facts, base.description);
    // A certificate may log in to several roles; which one, the class says.
    const { dialect: provider, role } = login;
    for (const { service, name: path, method } of refs) {
      const name = withoutQuery(path);
      checkSharedPath(name, login, base.description);
      sharedIdentity.check({ workload, provider, service, name, role, method });
    }
  }

  return async (
    workload: Workload,
    plan: Plan<VaultLogin>,
    { signal }: Admission,
  ): Promise<readonly Grant<VaultSession>[]> => {
    const { login, refs } = plan;
    const base = await identityOf(workload, login, signal);
    if (base.whose === 'shared') checkShared(workload, plan, base);
    const principal = principalOf(base, login, workload);
    // Whether a path leases only its answer tells: until then each pod asks for itself.
    const scope = login.leaseScope === 'serviceAccount' ? 'principal' : 'pod';
    return refs.map((ref) => grant({ ref, principal, workload, scope }));
  };
}
