import { SecretError } from '../../core/errors.ts';
import { grant } from '../../core/grant.ts';
import type { Plan, SecretRef } from '../../core/plan.ts';
import type { AuthorizeContext, Grant, Principal } from '../../core/provider.ts';
import type { Workload } from '../../core/workload.ts';
import type { HomeRegion } from '../shared/identity/home-region.ts';
import { type IdentitySource, resolveIdentity } from '../shared/identity/identity-source.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import type { AlibabaLogin } from './class/parameters.ts';
import { isOperatorsEndpoint } from './endpoints.ts';
import type { PrincipalOf } from './principals.ts';
import type { AlibabaCloudConfig, AlibabaCredential, CredentialSource } from './types.ts';

/** See {@link createAuthorize}. */
export type AuthorizeDeps = {
  /** Own identities come before shared ones. The last source serves every workload. */
  readonly identitySources: readonly IdentitySource<AlibabaLogin, CredentialSource>[];
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
  readonly homeRegion: HomeRegion;
  readonly config: Pick<AlibabaCloudConfig, 'kms' | 'allowedEndpoints'>;
  readonly principalOf: PrincipalOf;
};

/**
 * Decides whose rights serve a workload. With an identity of the workload's own, the store decides
 * about secrets and roles. A shared identity serves only what the operator granted.
 */
export function createAuthorize(deps: AuthorizeDeps) {
  const { identitySources, sharedIdentity, homeRegion, config, principalOf } = deps;

  /** @param home the home region, if it is known */
  function checkSharedAccess(
    workload: Workload,
    refs: readonly SecretRef[],
    home: string | undefined,
  ): void {
    for (const { service, name, role, region, endpoint } of refs)
      sharedIdentity.check({
        ...{ workload, provider: 'alibabacloud', service, name, role },
        region: region === home ? undefined : region,
        endpoint:
          endpoint === undefined || isOperatorsEndpoint(endpoint, home, config)
            ? undefined
            : endpoint,
      });
  }

  return async (
    workload: Workload,
    { login, refs }: Plan<AlibabaLogin>,
    context: AuthorizeContext,
  ): Promise<readonly Grant<AlibabaCredential>[]> => {
    const identity = await resolveIdentity(identitySources, workload, login, context);
    if (identity === undefined)
      throw new SecretError('INTERNAL', 'alibabacloud: no identity for this workload');
    if (identity.kind === 'shared')
      await homeRegion.check(context.signal, (home) => checkSharedAccess(workload, refs, home));
    const principalByRole = new Map<string | undefined, Principal<AlibabaCredential>>();
    return refs.map((ref) => {
      const principal = principalByRole.get(ref.role) ?? principalOf(identity, ref.role);
      principalByRole.set(ref.role, principal);
      return grant({ ref, principal, workload });
    });
  };
}
