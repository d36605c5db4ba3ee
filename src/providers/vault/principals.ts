import type { Principal } from '../../core/provider.ts';
import type { Workload } from '../../core/workload.ts';
import type { Fingerprint } from '../shared/identity/fingerprint.ts';
import type { Identity, IdentitySource } from '../shared/identity/identity-source.ts';
import type { VaultSettings } from './config.ts';
import {
  operatorAppRole,
  operatorCertificate,
  operatorToken,
  podAppRole,
  podToken,
} from './credentials/keys.ts';
import type { PodTokens } from './credentials/pod-tokens.ts';
import type { VaultTokenManager } from './credentials/token-manager.ts';
import type { VaultIdentity, VaultLogin, VaultSession } from './types.ts';

/** An identity. Its credential is a function that reads what a login sends, at each login. */
export type VaultBaseIdentity = Identity<VaultIdentity['getCredential']>;

type Source = IdentitySource<VaultLogin, VaultIdentity['getCredential']>;

/** What the identity sources need. */
export type IdentitySourcesDeps = {
  readonly settings: VaultSettings;
  readonly podTokens: PodTokens;
};

/**
 * The identities of a workload. The methods `kubernetes` and `jwt` use the token of the pod. The
 * methods `approle` and `token` use the keys of the pod, and the operator's where the pod has none.
 * The method `cert` uses the operator's.
 */
export function createIdentitySources({
  settings,
  podTokens,
}: IdentitySourcesDeps): readonly Source[] {
  return [
    async (workload, login, { signal }) => {
      if (login.method !== 'kubernetes' && login.method !== 'jwt') return undefined;
      const token = await podTokens(workload, login.audience, signal);
      return podServiceAccount(workload, login, token, settings);
    },
    async (workload, login) => {
      if (workload.secrets.size === 0) return undefined;
      if (login.method === 'approle') return podAppRole(workload, login);
      return login.method === 'token' ? podToken(workload, login) : undefined;
    },
    async (workload, login) => {
      if (login.method === 'approle') return operatorAppRole(login, settings);
      if (login.method === 'token') return operatorToken(login, settings);
      return login.method === 'cert' ? operatorCertificate(workload, login) : undefined;
    },
  ];
}

function podServiceAccount(
  workload: Workload,
  login: VaultLogin,
  { claims, getCredential }: Awaited<ReturnType<PodTokens>>,
  { jwtPrincipal }: VaultSettings,
): VaultBaseIdentity {
  const { tenant: namespace, identity: serviceAccount } = workload;
  const isPodScoped = login.mayBindPod === true && jwtPrincipal === 'pod';
  return {
    kind: 'own',
    description: `the role ${login.role ?? ''} of auth/${login.mount} as ${namespace}/${serviceAccount.name}`,
    credential: getCredential,
    fingerprintFields: {
      identity: 'pod',
      audience: login.audience,
      issuer: claims.issuer,
      namespace,
      serviceAccount: serviceAccount.name,
      serviceAccountUid: claims.serviceAccountUid,
      // The driver's value. Nothing has verified the pod in the token yet.
      pod: isPodScoped ? workload.instance : undefined,
    },
  };
}

/** Makes the principal of an identity for a login. */
export type PrincipalOf = (
  identity: VaultBaseIdentity,
  login: VaultLogin,
  workload: Workload,
) => Principal<VaultSession>;

/** See {@link PrincipalOf}. */
export function createPrincipalOf(deps: {
  readonly tokens: Pick<VaultTokenManager, 'getSession'>;
  readonly fingerprint: Fingerprint;
}): PrincipalOf {
  return (
    { kind, description, credential: getCredential, fingerprintFields },
    login,
    { tenant: namespace, identity: serviceAccount },
  ) => {
    // Leases that the pods of an account share belong to that account, also where other accounts
    // log in with the same keys.
    const leaseAccount = login.leaseScope === 'serviceAccount' && {
      ...{ namespace, serviceAccount: serviceAccount.name },
    };
    const fingerprint = deps.fingerprint({
      provider: login.dialect,
      // Addresses, namespace, mount, role, audience, TLS: all that the class says about the login.
      login: JSON.stringify(login),
      ...leaseAccount,
      ...fingerprintFields,
    });
    return {
      fingerprint,
      description,
      kind,
      credentials: (signal) =>
        deps.tokens.getSession(fingerprint, { login, getCredential }, signal),
    };
  };
}
