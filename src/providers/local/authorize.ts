import { grant } from '../../core/grant.ts';
import type { Provider } from '../../core/provider.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import type { LocalLogin } from './class.ts';
import type { LocalPrincipal } from './principal.ts';

/** Every secret of the local store is the operator's to grant. */
export function createLocalAuthorize({
  sharedIdentity,
  principal,
}: {
  readonly sharedIdentity: SharedIdentity;
  readonly principal: LocalPrincipal;
}): Provider<LocalLogin, undefined, undefined>['authorize'] {
  return async (workload, { refs }) => {
    for (const { service, name } of refs)
      sharedIdentity.check({ workload, provider: 'local', service, name });
    const owner = await principal();
    return refs.map((ref) => grant({ ref, principal: owner, workload }));
  };
}
