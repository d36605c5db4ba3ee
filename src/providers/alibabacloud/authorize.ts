import { SecretError } from '../../core/errors.ts';
import { grant } from '../../core/grant.ts';
import type { Plan } from '../../core/plan.ts';
import type { AuthorizeContext, Grant, Principal } from '../../core/provider.ts';
import type { Workload } from '../../core/workload.ts';
import { type IdentitySource, resolveIdentity } from '../shared/identity/identity-source.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import type { AlibabaLogin } from './class/parameters.ts';
import type { PrincipalOf } from './principals.ts';
import type { AlibabaCredential, CredentialSource } from './types.ts';

/** See {@link createAuthorize}. */
export type AuthorizeDeps = {
  /** Own identities come before shared ones. The last source serves every workload. */
  readonly identitySources: readonly IdentitySource<AlibabaLogin, CredentialSource>[];
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
  readonly principalOf: PrincipalOf;
};

/**
 * Decides whose rights serve a workload. With an identity of the workload's own, the store decides
 * about secrets and roles. A shared identity serves only what the operator granted.
 */
export function createAuthorize(deps: AuthorizeDeps) {
  const { identitySources, sharedIdentity, principalOf } = deps;
  return async (
    workload: Workload,
    { login, refs }: Plan<AlibabaLogin>,
    context: AuthorizeContext,
  ): Promise<readonly Grant<AlibabaCredential>[]> => {
    const identity = await resolveIdentity(identitySources, workload, login, context);
    if (identity === undefined)
      throw new SecretError('INTERNAL', 'alibabacloud: no identity for this workload');
    if (identity.kind === 'shared')
      for (const { service, name, role } of refs)
        sharedIdentity.check({ workload, provider: 'alibabacloud', service, name, role });
    const principalByRole = new Map<string | undefined, Principal<AlibabaCredential>>();
    return refs.map((ref) => {
      const principal = principalByRole.get(ref.role) ?? principalOf(identity, ref.role);
      principalByRole.set(ref.role, principal);
      return grant({ ref, principal, workload });
    });
  };
}
