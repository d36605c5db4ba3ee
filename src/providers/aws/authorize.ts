import { grant } from '../../core/grant.ts';
import type { Plan, SecretRef } from '../../core/plan.ts';
import type { AuthorizeContext, Grant, Principal } from '../../core/provider.ts';
import type { Workload } from '../../core/workload.ts';
import type { HomeRegion } from '../shared/identity/home-region.ts';
import { resolveIdentity } from '../shared/identity/identity-source.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import type { AwsLogin } from './class/parameters.ts';
import { type AwsIdentitySource, type PrincipalOf, noIdentityError } from './principals.ts';
import type { AwsCredential } from './types.ts';

/** See {@link createAuthorize}. */
export type AuthorizeDeps = {
  readonly identitySources: readonly AwsIdentitySource[];
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
  readonly homeRegion: HomeRegion;
  readonly principalOf: PrincipalOf;
};

/**
 * Authorizes a pod by the first of the identity sources that it uses. With an identity of the pod
 * itself, AWS decides about secrets. Keyferry's own identity serves only what the operator granted.
 */
export function createAuthorize(deps: AuthorizeDeps) {
  const { identitySources, sharedIdentity, homeRegion, principalOf } = deps;
  return async (
    workload: Workload,
    { refs, login }: Plan<AwsLogin>,
    context: AuthorizeContext,
  ): Promise<readonly Grant<AwsCredential>[]> => {
    const identity = await resolveIdentity(identitySources, workload, login, context);
    if (identity === undefined) throw noIdentityError(workload);
    if (identity.kind === 'shared')
      await homeRegion.check(context.signal, (home) => {
        for (const { service, name, region } of refs.flatMap(withFallbacks))
          sharedIdentity.check({
            ...{ workload, provider: 'aws', service, name },
            region: region === home ? undefined : region,
          });
      });
    const principalByRegion = new Map<string, Principal<AwsCredential>>();
    const grantOf = (ref: SecretRef): Grant<AwsCredential> => {
      const { region = '', fallbacks = [] } = ref;
      const principal = principalByRegion.get(region) ?? principalOf(identity, region);
      principalByRegion.set(region, principal);
      return grant({ ref, principal, workload, fallbacks: fallbacks.map(grantOf) });
    };
    return refs.map(grantOf);
  };
}

function withFallbacks(ref: SecretRef): readonly SecretRef[] {
  return [ref, ...(ref.fallbacks ?? []).flatMap(withFallbacks)];
}
