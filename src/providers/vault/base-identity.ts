import type { Workload } from '../../plan/workload.ts';
import type { FingerprintField } from '../fingerprint.ts';
import type { Principal } from '../provider.ts';
import { broughtAppRole, broughtToken } from './brought-identity.ts';
import type { VaultSettings } from './config.ts';
import type { VaultIdentity } from './identity.ts';
import type { VaultLogin } from './login.ts';
import { operatorsAppRole, operatorsCertificate, operatorsToken } from './operators-identity.ts';
import type { PodTokens } from './pod-tokens.ts';

/** Whose rights serve a workload. */
export type BaseIdentity = {
  readonly whose: Principal['identity'];
  readonly description: string;
  readonly proof: VaultIdentity['proof'];
  /** All that could change Vault's answer, beside the login. */
  readonly fields: Readonly<Record<string, FingerprintField>>;
};

/** What {@link createBaseIdentity} needs. */
export type BaseIdentityDeps = {
  readonly settings: VaultSettings;
  readonly podTokens: PodTokens;
};

/**
 * Whom a class makes of a workload. With methods `kubernetes` and `jwt` the pod itself, by its token; with `approle` and `token` whoever the keys
 * belong to that the pod brings; only where it brings none, and with `cert`, whom the operator configured for all.
 * @throws SecretError TOKEN_MISSING, TOKEN_INVALID, INVALID_REQUEST, NOT_CONFIGURED, and what a TokenRequest throws
 */
export function createBaseIdentity({ settings, podTokens }: BaseIdentityDeps) {
  return async (workload: Workload, login: VaultLogin, signal: AbortSignal): Promise<BaseIdentity> => {
    switch (login.method) {
      case 'kubernetes':
      case 'jwt':
        return podIdentity(workload, login, await podTokens(workload, login.audience, signal), settings);
      case 'approle':
        return workload.secrets.size > 0
          ? broughtAppRole(workload, login)
          : operatorsAppRole(login, settings);
      case 'token':
        return workload.secrets.size > 0 ? broughtToken(workload, login) : operatorsToken(login, settings);
      case 'cert':
        return operatorsCertificate(workload, login);
    }
  };
}

function podIdentity(
  workload: Workload,
  login: VaultLogin,
  { claims, proof }: Awaited<ReturnType<PodTokens>>,
  { jwtPrincipal }: VaultSettings,
): BaseIdentity {
  const { namespace, serviceAccount } = workload;
  const isOfPod = login.mayBindPod === true && jwtPrincipal === 'pod';
  return {
    whose: 'own',
    description: `the role ${login.role ?? ''} of auth/${login.mount} as ${namespace}/${serviceAccount.name}`,
    proof,
    fields: {
      identity: 'pod',
      audience: login.audience,
      issuer: claims.issuer,
      namespace,
      serviceAccount: serviceAccount.name,
      serviceAccountUid: claims.serviceAccountUid,
      // As the driver says it: what a token says of it nobody has verified yet.
      pod: isOfPod ? workload.instance : undefined,
    },
  };
}
