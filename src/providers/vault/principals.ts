import type { Principal } from '../../core/provider.ts';
import type { Workload } from '../../core/workload.ts';
import type { Fingerprint } from '../shared/identity/fingerprint.ts';
import type { VaultLogin, VaultSession } from './types.ts';
import type { ResolvedIdentity } from './credentials/keys.ts';
import type { VaultTokenManager } from './credentials/token-manager.ts';

/** Whom Vault sees: an identity, and how it logs in. */
export type PrincipalOf = (
  identity: ResolvedIdentity,
  login: VaultLogin,
  workload: Workload,
) => Principal<VaultSession>;

/** See {@link PrincipalOf}. */
export function createPrincipals(deps: {
  readonly tokens: Pick<VaultTokenManager, 'getSession'>;
  readonly fingerprint: Fingerprint;
}): PrincipalOf {
  return (
    { kind, description, getCredential, fingerprintFields },
    login,
    { tenant: namespace, identity: serviceAccount },
  ) => {
    // Leases that an account shares are that account's, whoever logs in for it.
    const leaseAccount = login.leaseScope === 'serviceAccount' && {
      ...{ namespace, serviceAccount: serviceAccount.name },
    };
    const fingerprint = deps.fingerprint({
      provider: login.dialect,
      // Addresses, namespace, mount, role, audience, TLS: whatever the class says of how to log in.
      login: JSON.stringify(login),
      ...leaseAccount,
      ...fingerprintFields,
    });
    return {
      fingerprint,
      description,
      identity: kind,
      credentials: (signal) =>
        deps.tokens.getSession(fingerprint, { login, getCredential }, signal),
    };
  };
}
