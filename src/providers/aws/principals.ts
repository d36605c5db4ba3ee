import type { Workload } from '../../plan/workload.ts';
import type { Fingerprint, FingerprintField } from '../fingerprint.ts';
import type { Principal } from '../provider.ts';
import type { WorkloadToken } from '../workload-token.ts';
import type { AwsConfig } from './config.ts';
import type { AwsCredential, AwsIdentity } from './identity.ts';
import { irsaAudience, type IrsaRole } from './irsa.ts';
import type { AwsLogin } from './parameters.ts';
import { podIdentityAudience } from './pod-identity.ts';
import { sessionNameOf } from './session-name.ts';

/** Whose rights serve a pod, wherever its secrets are. */
export type BaseIdentity = {
  readonly whose: Principal['identity'];
  readonly description: string;
  /** Logs in, for secrets of a region. */
  readonly identityIn: (region: string) => AwsIdentity;
  /** Logs in at the STS of the region, so that a region's outage is that region's alone. */
  readonly isRegional: boolean;
  /** All that could change the store's answer. */
  readonly fields: Readonly<Record<string, FingerprintField>>;
};

/** Whom AWS sees in a region. */
export type PrincipalIn = (base: BaseIdentity, region: string) => Principal<AwsCredential>;

/** See {@link PrincipalIn}. */
export function createPrincipals(deps: {
  readonly config: AwsConfig;
  readonly credentials: {
    of(cacheKey: string, identity: AwsIdentity, signal: AbortSignal): Promise<AwsCredential>;
  };
  readonly fingerprint: Fingerprint;
}): PrincipalIn {
  const { sts, fips, dualstack } = deps.config.cloud;
  const place = { provider: 'aws', sts: sts?.href, fips: String(fips), dualstack: String(dualstack) };
  return ({ whose, description, identityIn, isRegional, fields }, region) => {
    const fingerprint = deps.fingerprint({ ...place, ...fields, region: isRegional ? region : undefined });
    const identity = identityIn(region);
    return {
      fingerprint,
      description,
      identity: whose,
      credentials: (signal) => deps.credentials.of(fingerprint, identity, signal),
    };
  };
}

/** The role of the pod's ServiceAccount: the same for all its pods. */
export function irsaBase({ namespace, serviceAccount }: Workload, role: IrsaRole): BaseIdentity {
  const { roleArn, token, serviceAccountUid } = role;
  const sessionName = sessionNameOf(namespace, serviceAccount.name);
  return {
    whose: 'own',
    description: `the role ${roleArn} as ${sessionName}`,
    identityIn: (region) => ({ kind: 'irsa', roleArn, sessionName, region, token: token.token }),
    isRegional: true,
    fields: {
      identity: 'irsa',
      roleArn,
      audience: irsaAudience,
      issuer: token.issuer,
      namespace,
      serviceAccount: serviceAccount.name,
      serviceAccountUid,
    },
  };
}

/** The role that EKS associates with the pod's ServiceAccount: the pod's own, unless the operator says otherwise. */
export function podIdentityBase(
  { namespace, serviceAccount, instance }: Workload,
  { addressType }: AwsLogin,
  { token, issuer, serviceAccountUid }: WorkloadToken,
  principal: AwsConfig['podIdentityPrincipal'],
): BaseIdentity {
  return {
    whose: 'own',
    description: `the role that Pod Identity has for ${namespace}/${serviceAccount.name}`,
    identityIn: () => ({ kind: 'pod-identity', token, addressType }),
    isRegional: false,
    fields: {
      identity: 'pod-identity',
      addressType,
      audience: podIdentityAudience,
      issuer,
      namespace,
      serviceAccount: serviceAccount.name,
      serviceAccountUid,
      podUid: principal === 'pod' ? instance : undefined,
    },
  };
}

/** Keyferry's own, where the operator lends it. */
export const ownBase: BaseIdentity = {
  whose: 'shared',
  description: "Keyferry's own identity",
  identityIn: (region) => ({ kind: 'own-chain', region }),
  isRegional: true,
  fields: { identity: 'own-chain' },
};
