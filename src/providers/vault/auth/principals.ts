import type { Principal } from '../../../core/provider.ts';
import type { Workload } from '../../../core/workload.ts';
import type { Fingerprint } from '../../shared/identity/fingerprint.ts';
import type { VaultLogin, VaultSession } from '../types.ts';
import type { BaseIdentity } from './identity.ts';
import type { VaultTokens } from './token-manager.ts';

/** Whom Vault sees: an identity, and how it logs in. */
export type PrincipalOf = (
  base: BaseIdentity,
  login: VaultLogin,
  workload: Workload,
) => Principal<VaultSession>;

/** See {@link PrincipalOf}. */
export function createPrincipals(deps: {
  readonly tokens: Pick<VaultTokens, 'of'>;
  readonly fingerprint: Fingerprint;
}): PrincipalOf {
  return ({ whose, description, proof, fields }, login, { namespace, serviceAccount }) => {
    // Leases that an account shares are that account's, whoever logs in for it.
    const account = login.leaseScope === 'serviceAccount' && {
      ...{ namespace, serviceAccount: serviceAccount.name },
    };
    const fingerprint = deps.fingerprint({
      provider: login.dialect,
      // Addresses, namespace, mount, role, audience, TLS: whatever the class says of how to log in.
      login: JSON.stringify(login),
      ...account,
      ...fields,
    });
    return {
      fingerprint,
      description,
      identity: whose,
      credentials: (signal) => deps.tokens.of(fingerprint, { login, proof }, signal),
    };
  };
}
