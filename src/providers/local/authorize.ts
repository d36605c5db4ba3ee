import { grant } from '../../core/grant.ts';
import type { Provider } from '../../core/provider.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import type { LocalLogin } from './class.ts';
import type { StorePrincipal } from './principals.ts';

/** Grants what the operator grants to shared identities: a local store has no others. */
export function createAuthorize({
  sharedIdentity,
  storePrincipal,
}: {
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
  readonly storePrincipal: StorePrincipal;
}): Provider<LocalLogin, undefined, undefined>['authorize'] {
  return async (workload, { refs }) => {
    for (const { service, name } of refs)
      sharedIdentity.check({ workload, provider: 'local', service, name });
    const principal = await storePrincipal.get();
    return refs.map((ref) => grant({ ref, principal, workload }));
  };
}
