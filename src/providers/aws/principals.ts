import { SecretError } from '../../core/errors.ts';
import type { AuthorizeContext, Principal } from '../../core/provider.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Workload } from '../../core/workload.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Fingerprint } from '../shared/identity/fingerprint.ts';
import type { Identity, IdentitySource } from '../shared/identity/identity-source.ts';
import { checkPodOfToken, readWorkloadToken } from '../shared/identity/workload-token.ts';
import { hasShortAccount, roleArnPattern, shortAccountHint } from './arn.ts';
import type { AwsLogin } from './class/parameters.ts';
import type { AwsConfig } from './config.ts';
import type { AwsCredentials } from './credentials/index.ts';
import { sessionNameOf } from './credentials/sts.ts';
import type { AwsCredential, AwsCredentialSource } from './types.ts';

/** The audience of the tokens that STS accepts. */
export const irsaAudience = 'sts.amazonaws.com';
/** The audience of the tokens that the agent of EKS Pod Identity accepts. */
export const podIdentityAudience = 'pods.eks.amazonaws.com';
/** The annotation of a ServiceAccount that names the IAM role of its pods. */
export const roleAnnotation = 'eks.amazonaws.com/role-arn';

type AwsIdentity = Identity<AwsCredentialSource>;
/** See {@link createIdentitySources}. */
export type AwsIdentitySource = IdentitySource<AwsLogin, AwsCredentialSource>;

/** See {@link createIdentitySources}. */
export type IdentitySourcesDeps = {
  readonly config: Pick<AwsConfig, 'ownIdentity' | 'podIdentityPrincipal'>;
  readonly serviceAccounts: ServiceAccounts;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/**
 * The identities that can serve a pod, in this order: EKS Pod Identity where the class sets
 * usePodIdentity, else the role that the pod's ServiceAccount names (IRSA), else Keyferry's own
 * identity where the operator switched it on.
 */
export function createIdentitySources(deps: IdentitySourcesDeps): readonly AwsIdentitySource[] {
  const { config, now } = deps;
  return [
    async (workload, login) =>
      login.usePodIdentity ? podIdentity(workload, login, config, now()) : undefined,
    (workload, _, context) => irsaIdentity(deps, workload, context),
    async () => (config.ownIdentity ? operatorIdentity : undefined),
  ];
}

/**
 * The role that EKS associates with the pod's ServiceAccount. EKS puts the name and the uid of the
 * pod to which the token is bound into the session. So the token must be bound to this pod.
 * @throws SecretError TOKEN_MISSING, TOKEN_INVALID
 */
function podIdentity(
  workload: Workload,
  { addressType }: AwsLogin,
  { podIdentityPrincipal }: Pick<AwsConfig, 'podIdentityPrincipal'>,
  now: number,
): AwsIdentity {
  const { tenant: namespace, identity: serviceAccount, instance } = workload;
  const workloadToken = readWorkloadToken(workload, podIdentityAudience, now);
  checkPodOfToken(workload, workloadToken, podIdentityAudience);
  const { token, issuer, serviceAccountUid } = workloadToken;
  return {
    kind: 'own',
    description: `the role that Pod Identity has for ${namespace}/${serviceAccount.name}`,
    credential: { kind: 'pod-identity', token, addressType },
    fingerprintFields: {
      identity: 'pod-identity',
      addressType,
      audience: podIdentityAudience,
      issuer,
      namespace,
      serviceAccount: serviceAccount.name,
      serviceAccountUid,
      podUid: podIdentityPrincipal === 'pod' ? instance : undefined,
    },
  };
}

/**
 * The role that the pod's ServiceAccount names. It is the same for all pods of the ServiceAccount.
 * An annotation that is not a role is an error: its author wants the pod to have an own identity.
 * @returns undefined if the ServiceAccount has no annotation
 * @throws SecretError TOKEN_MISSING, TOKEN_INVALID, NOT_GRANTED, ADMISSION_UNAVAILABLE,
 *   NOT_CONFIGURED
 */
async function irsaIdentity(
  { serviceAccounts, now }: Pick<IdentitySourcesDeps, 'serviceAccounts' | 'now'>,
  workload: Workload,
  { signal, notBefore }: AuthorizeContext,
): Promise<AwsIdentity | undefined> {
  const { tenant: namespace, identity: serviceAccount } = workload;
  const { name } = serviceAccount;
  const account = await serviceAccounts.get({ namespace, name, notBefore, signal });
  const roleArn = account.annotations.get(roleAnnotation)?.trim();
  if (roleArn === undefined) return undefined;
  const isShort = hasShortAccount(roleArn);
  if (isShort || !roleArnPattern.test(roleArn))
    throw noRoleError(
      workload,
      `is not an ARN of an IAM role: ${sanitizeUserText(roleArn)}`,
      isShort ? shortAccountHint : `write ${annotationLine}`,
    );
  const { token, issuer } = readWorkloadToken(workload, irsaAudience, now());
  const sessionName = sessionNameOf(namespace, name);
  return {
    kind: 'own',
    description: `the role ${roleArn} as ${sessionName}`,
    credential: { kind: 'irsa', roleArn, sessionName, token },
    fingerprintFields: {
      identity: 'irsa',
      roleArn,
      audience: irsaAudience,
      issuer,
      namespace,
      serviceAccount: name,
      // Of the ServiceAccount as it is now, not of the token.
      serviceAccountUid: account.uid,
    },
  };
}

const operatorIdentity: AwsIdentity = {
  kind: 'shared',
  description: "Keyferry's own identity",
  credential: { kind: 'default-chain', method: 'default' },
  fingerprintFields: { identity: 'default-chain' },
};

const annotationLine = `${roleAnnotation}: arn:aws:iam::<account>:role/<name>`;

/** The error of a pod that none of the identity sources serves. */
export function noIdentityError(workload: Workload): SecretError {
  return noRoleError(
    workload,
    'is missing',
    `annotate it with ${annotationLine}, or set usePodIdentity: "true" in the class; ` +
      `or let Keyferry's own identity serve it, by KEYFERRY_AWS_OWN_IDENTITY=true and a grant`,
  );
}

function noRoleError(
  { tenant: namespace, identity: serviceAccount }: Workload,
  problem: string,
  hint: string,
): SecretError {
  const account = `${sanitizeUserText(namespace)}/${sanitizeUserText(serviceAccount.name)}`;
  return new SecretError(
    'NOT_GRANTED',
    `aws: ServiceAccount ${account} has no role: its annotation ${roleAnnotation} ${problem}`,
    { hint },
  );
}

/** Makes the principal that AWS sees in a region. */
export type PrincipalOf = (identity: AwsIdentity, region: string) => Principal<AwsCredential>;

/** See {@link PrincipalOf}. */
export function createPrincipalOf(deps: {
  readonly config: Pick<AwsConfig, 'cloud'>;
  readonly credentials: Pick<AwsCredentials, 'get'>;
  readonly fingerprint: Fingerprint;
}): PrincipalOf {
  const { secretsManager, ssm, sts, fips, dualstack } = deps.config.cloud;
  const endpointFields = {
    provider: 'aws',
    secretsManager: secretsManager?.href,
    ssm: ssm?.href,
    sts: sts?.href,
    fips: String(fips),
    dualstack: String(dualstack),
  };
  return ({ kind, description, credential: source, fingerprintFields }, region) => {
    // A login at the STS of the region keeps an outage of one region out of the others. The agent
    // of EKS Pod Identity gives one session for all regions.
    const isRegional = source.kind !== 'pod-identity';
    const fingerprint = deps.fingerprint({
      ...endpointFields,
      ...fingerprintFields,
      region: isRegional ? region : undefined,
    });
    return {
      fingerprint,
      description,
      kind,
      credentials: (signal) => deps.credentials.get(fingerprint, { ...source, region }, signal),
    };
  };
}
