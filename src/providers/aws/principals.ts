import { createHash } from 'node:crypto';
import { SecretError } from '../../core/errors.ts';
import type { AuthorizeContext, Principal } from '../../core/provider.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { Workload } from '../../core/workload.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Fingerprint, FingerprintField } from '../shared/identity/fingerprint.ts';
import { type WorkloadToken, readWorkloadToken } from '../shared/identity/workload-token.ts';
import { roleArnShape } from './class/object-ref.ts';
import type { AwsLogin } from './class/parameters.ts';
import type { AwsConfig } from './config.ts';
import type { AwsCredential, AwsIdentity } from './types.ts';

/** The audience of the tokens that STS takes. */
export const irsaAudience = 'sts.amazonaws.com';
/** The annotation of a ServiceAccount that names the IAM role of its pods. */
export const roleAnnotation = 'eks.amazonaws.com/role-arn';

/** The role of a pod's ServiceAccount, and what proves who the pod is. */
export type IrsaRole = {
  readonly roleArn: string;
  readonly token: WorkloadToken;
  /** Of the ServiceAccount as it is now. */
  readonly serviceAccountUid: string;
};

/**
 * The role that the pod's ServiceAccount names, with the pod's token; nothing where the account names none. An annotation that is no role is
 * an error: who writes one means to be somebody.
 * @throws SecretError TOKEN_MISSING, TOKEN_INVALID, NOT_GRANTED, ADMISSION_UNAVAILABLE, NOT_CONFIGURED
 */
export async function readIrsaRole(
  deps: { readonly serviceAccounts: ServiceAccounts; readonly now: () => number },
  workload: Workload,
  { signal, notBefore }: AuthorizeContext,
): Promise<IrsaRole | undefined> {
  const { tenant: namespace, identity: serviceAccount } = workload;
  const { name } = serviceAccount;
  const account = await deps.serviceAccounts.get({ namespace, name, notBefore, signal });
  const roleArn = account.annotations.get(roleAnnotation)?.trim();
  if (roleArn === undefined) return undefined;
  if (!roleArnShape.test(roleArn))
    throw noRole(
      workload,
      `is no ARN of an IAM role: ${sanitizeExternalText(roleArn)}`,
      `write ${annotationLine}`,
    );
  const token = readWorkloadToken(workload, irsaAudience, deps.now());
  return { roleArn, token, serviceAccountUid: account.uid };
}

/** That a pod has no identity of its own, nor is to be served by another. */
export function noIdentity(workload: Workload): SecretError {
  return noRole(
    workload,
    'is missing',
    `annotate it with ${annotationLine}, or set usePodIdentity: "true" in the class; ` +
      `else the operator can lend Keyferry's own rights by KEYFERRY_AWS_OWN_IDENTITY=true and a grant`,
  );
}

const annotationLine = `${roleAnnotation}: arn:aws:iam::<account>:role/<name>`;

function noRole(
  { tenant: namespace, identity: serviceAccount }: Workload,
  fault: string,
  hint: string,
): SecretError {
  const account = `${sanitizeExternalText(namespace)}/${sanitizeExternalText(serviceAccount.name)}`;
  return new SecretError(
    'NOT_GRANTED',
    `aws: ServiceAccount ${account} has no role: its annotation ${roleAnnotation} ${fault}`,
    { hint },
  );
}

/** The audience of the tokens that the agent of EKS Pod Identity takes. */
export const podIdentityAudience = 'pods.eks.amazonaws.com';

/**
 * The pod's token for the agent. EKS gives the session the name and uid of the pod that the token is bound to, so it must be this pod's.
 * @throws SecretError TOKEN_MISSING, TOKEN_INVALID
 */
export function readPodIdentityToken(workload: Workload, now: number): WorkloadToken {
  const token = readWorkloadToken(workload, podIdentityAudience, now);
  if (token.podUid !== undefined && token.podUid !== workload.instance)
    throw new SecretError(
      'TOKEN_INVALID',
      `the pod's token for the audience ${podIdentityAudience} is bound to another pod`,
    );
  return token;
}

const longest = 64;

/**
 * The name of a session, as CloudTrail shows it: `<namespace>.<account>`. STS takes `[\w+=,.@-]{2,64}`; of what is longer the end is a digest, so
 * that two accounts never share one name.
 */
export function sessionNameOf(namespace: string, serviceAccount: string): string {
  const whole = `${namespace}.${serviceAccount}`;
  const name = whole.replace(/[^\w+=,.@-]/g, '-');
  if (name === whole && name.length <= longest) return name;
  const digest = createHash('sha256').update(whole).digest('hex').slice(0, 8);
  return `${name.slice(0, longest - 1 - digest.length)}-${digest}`;
}

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
    get(fingerprint: string, identity: AwsIdentity, signal: AbortSignal): Promise<AwsCredential>;
  };
  readonly fingerprint: Fingerprint;
}): PrincipalIn {
  const { sts, fips, dualstack } = deps.config.cloud;
  const place = {
    provider: 'aws',
    sts: sts?.href,
    fips: String(fips),
    dualstack: String(dualstack),
  };
  return ({ whose, description, identityIn, isRegional, fields }, region) => {
    const fingerprint = deps.fingerprint({
      ...place,
      ...fields,
      region: isRegional ? region : undefined,
    });
    const identity = identityIn(region);
    return {
      fingerprint,
      description,
      identity: whose,
      credentials: (signal) => deps.credentials.get(fingerprint, identity, signal),
    };
  };
}

/** The role of the pod's ServiceAccount: the same for all its pods. */
export function irsaBase(
  { tenant: namespace, identity: serviceAccount }: Workload,
  role: IrsaRole,
): BaseIdentity {
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
  { tenant: namespace, identity: serviceAccount, instance }: Workload,
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
  identityIn: (region) => ({ kind: 'default-chain', region }),
  isRegional: true,
  fields: { identity: 'default-chain' },
};
