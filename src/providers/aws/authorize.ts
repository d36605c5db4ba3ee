import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Plan, SecretRef } from '../../core/plan.ts';
import type { Workload } from '../../core/workload.ts';
import { grant } from '../../core/grant.ts';
import type { AuthorizeContext, Grant, Principal } from '../../core/provider.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import type { AwsConfig } from './config.ts';
import type { AwsCredential } from './types.ts';
import { noIdentity, readIrsaRole } from './principals.ts';
import type { AwsLogin } from './class/parameters.ts';
import { readPodIdentityToken } from './principals.ts';
import {
  irsaBase,
  ownBase,
  podIdentityBase,
  type BaseIdentity,
  type PrincipalIn,
} from './principals.ts';

/** See {@link createAdmit}. */
export type AdmitDeps = {
  readonly config: Pick<AwsConfig, 'ownIdentity' | 'podIdentityPrincipal'>;
  readonly serviceAccounts: ServiceAccounts;
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
  readonly principalIn: PrincipalIn;
  readonly now: () => number;
};

/**
 * Decides whose rights serve a pod: the session of Pod Identity where the class asks for it, else the role that its ServiceAccount names; then AWS
 * decides about secrets. A pod whose account names none is served by Keyferry's own identity only where the operator switched that on, and only
 * what is granted. None of them stands in for another that does not do.
 */
export function createAdmit(deps: AdmitDeps) {
  const { config, sharedIdentity, principalIn, now } = deps;

  const baseOf = async (
    workload: Workload,
    login: AwsLogin,
    admission: AuthorizeContext,
  ): Promise<BaseIdentity> => {
    if (login.usePodIdentity) {
      const token = readPodIdentityToken(workload, now());
      return podIdentityBase(workload, login, token, config.podIdentityPrincipal);
    }
    const role = await readIrsaRole(deps, workload, admission);
    if (role !== undefined) return irsaBase(workload, role);
    if (config.ownIdentity) return ownBase;
    throw noIdentity(workload);
  };

  return async (
    workload: Workload,
    { refs, login }: Plan<AwsLogin>,
    admission: AuthorizeContext,
  ): Promise<readonly Grant<AwsCredential>[]> => {
    const base = await baseOf(workload, login, admission);
    const principals = new Map<string, Principal<AwsCredential>>();
    const grantOf = (ref: SecretRef): Grant<AwsCredential> => {
      const { service, name, region = '', fallbacks = [] } = ref;
      if (base.whose === 'shared')
        sharedIdentity.check({ workload, provider: 'aws', service, name });
      const principal = principals.get(region) ?? principalIn(base, region);
      principals.set(region, principal);
      return grant({ ref, principal, workload, fallbacks: fallbacks.map(grantOf) });
    };
    return refs.map(grantOf);
  };
}
