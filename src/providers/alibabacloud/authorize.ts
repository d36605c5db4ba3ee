import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Plan } from '../../core/plan.ts';
import type { Workload } from '../../core/workload.ts';
import { grant } from '../../core/grant.ts';
import type { AuthorizeContext, Grant, Principal } from '../../core/provider.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import type { AlibabaConfig } from './config.ts';
import type { AlibabaCredential } from './types.ts';
import type { AlibabaLogin } from './class/parameters.ts';
import { readPodKeys } from './principals.ts';
import { readPodRole } from './principals.ts';
import {
  podKeysBase,
  podRoleBase,
  sharedBase,
  type BaseIdentity,
  type PrincipalOf,
} from './principals.ts';

/** See {@link createAdmit}. */
export type AdmitDeps = {
  readonly config: AlibabaConfig;
  readonly serviceAccounts: ServiceAccounts;
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
  readonly principalOf: PrincipalOf;
  readonly now: () => number;
};

/**
 * Decides whose rights serve a pod. Its own come first: the role of its ServiceAccount where the class asks for it, then the keys it brings.
 * With them the store decides about secrets and roles. What the operator configured serves all others, and only what the operator granted;
 * it never stands in for an identity of the pod's own that is asked for or brought and does not do.
 */
export function createAdmit(deps: AdmitDeps) {
  const shared = sharedBase(deps.config.shared);

  const baseOf = async (
    workload: Workload,
    login: AlibabaLogin,
    admission: AuthorizeContext,
  ): Promise<BaseIdentity> => {
    if (login.podToken) {
      const { oidcProviderArn } = deps.config;
      return podRoleBase(
        workload,
        await readPodRole({ ...deps, oidcProviderArn }, workload, admission),
      );
    }
    const keys = readPodKeys(workload);
    return keys === undefined ? shared : podKeysBase(keys);
  };

  return async (
    workload: Workload,
    plan: Plan<AlibabaLogin>,
    admission: AuthorizeContext,
  ): Promise<readonly Grant<AlibabaCredential>[]> => {
    const base = await baseOf(workload, plan.login, admission);
    if (base.whose === 'shared')
      for (const { service, name, role } of plan.refs)
        deps.sharedIdentity.check({ workload, provider: 'alibabacloud', service, name, role });
    const principals = new Map<string | undefined, Principal<AlibabaCredential>>();
    return plan.refs.map((ref) => {
      const principal = principals.get(ref.role) ?? deps.principalOf(base, ref.role);
      principals.set(ref.role, principal);
      return grant({ ref, principal, workload });
    });
  };
}
