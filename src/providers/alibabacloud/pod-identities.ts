import { SecretError } from '../../core/errors.ts';
import type { AuthorizeContext } from '../../core/provider.ts';
import type { Redacted } from '../../core/redacted.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Workload } from '../../core/workload.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Identity } from '../shared/identity/identity-source.ts';
import { readWorkloadToken } from '../shared/identity/workload-token.ts';
import { roleArnShape } from './class/object-ref.ts';
import type { CredentialSource } from './types.ts';

/** The audience of the tokens that STS accepts. */
export const audience = 'sts.aliyuncs.com';
/** The annotation of a ServiceAccount that names the RAM role of its pods. */
const roleAnnotation = 'ack.alibabacloud.com/role-arn';

/** See {@link readPodRoleIdentity}. */
export type PodRoleDeps = {
  readonly serviceAccounts: ServiceAccounts;
  readonly oidcProviderArn: string | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/**
 * Returns the role that the annotation of the pod's ServiceAccount names, with the pod's token. A
 * class with `usePodServiceAccountToken` gets no other identity. So a missing part is an error.
 * @throws SecretError NOT_CONFIGURED, TOKEN_MISSING, TOKEN_INVALID, NOT_GRANTED,
 *   ADMISSION_UNAVAILABLE
 */
export async function readPodRoleIdentity(
  { serviceAccounts, oidcProviderArn, now }: PodRoleDeps,
  workload: Workload,
  { signal, notBefore }: AuthorizeContext,
): Promise<Identity<CredentialSource>> {
  if (oidcProviderArn === undefined)
    throw new SecretError(
      'NOT_CONFIGURED',
      'alibabacloud: the class has usePodServiceAccountToken, but Keyferry does not know the OIDC provider of this cluster',
      {
        hint: 'set ALICLOUD_OIDC_PROVIDER_ARN, or ALICLOUD_ACCOUNT_ID and ALICLOUD_CLUSTER_ID, in its DaemonSet',
      },
    );
  const { token, issuer, serviceAccountUid } = readWorkloadToken(workload, audience, now());
  const { tenant: namespace, identity } = workload;
  const { name: serviceAccount } = identity;
  const { annotations } = await serviceAccounts.get({
    ...{ namespace, name: serviceAccount },
    ...{ notBefore, signal },
  });
  const roleArn = annotations.get(roleAnnotation)?.trim() ?? '';
  if (!roleArnShape.test(roleArn)) throw noRoleError(workload, roleArn);
  const sessionName = sessionNameOf(namespace, serviceAccount);
  return {
    kind: 'own',
    description: `the role ${roleArn} as ${sessionName}`,
    credential: {
      kind: 'rrsa',
      ...{ roleArn, oidcProviderArn, sessionName },
      token: () => Promise.resolve(token),
    },
    fingerprintFields: {
      identity: 'pod-role',
      ...{ roleArn, oidcProviderArn, audience, issuer },
      ...{ namespace, serviceAccount, serviceAccountUid },
    },
  };
}

function noRoleError(
  { tenant: namespace, identity: serviceAccount }: Workload,
  annotation: string,
): SecretError {
  const problem =
    annotation === ''
      ? 'is missing'
      : `is not an ARN of a RAM role: ${sanitizeUserText(annotation)}`;
  return new SecretError(
    'NOT_GRANTED',
    `alibabacloud: ServiceAccount ${sanitizeUserText(namespace)}/${sanitizeUserText(serviceAccount.name)} has no role: its annotation ` +
      `${roleAnnotation} ${problem}`,
    { hint: `annotate it with ${roleAnnotation}: acs:ram::<account id>:role/<name>` },
  );
}

/**
 * The name of a session in Alibaba Cloud's audit log: `<namespace>.<account>`, in the characters
 * and the length that STS allows.
 */
function sessionNameOf(namespace: string, serviceAccount: string): string {
  return `${namespace}.${serviceAccount}`.replace(/[^\w.@=-]/g, '-').slice(0, 64);
}

/**
 * Returns the keys in the Secret of `nodePublishSecretRef`: `access_key`, `access_secret`, and
 * `security_token` for a session. The letter case of the names does not matter.
 *
 * A Secret without keys is an error. Its pod means to use it, so a misspelt name must not lead to a
 * shared identity.
 * @returns undefined if the pod has no such Secret
 * @throws SecretError INVALID_REQUEST
 */
export function readPodKeysIdentity({
  secrets,
}: Pick<Workload, 'secrets'>): Identity<CredentialSource> | undefined {
  if (secrets.size === 0) return undefined;
  const accessKeyId = findKey(secrets, 'access_key')?.reveal();
  const accessKeySecret = findKey(secrets, 'access_secret');
  const securityToken = findKey(secrets, 'security_token');
  if (accessKeyId === undefined) throw podKeysError('has no access_key');
  if (accessKeySecret === undefined) throw podKeysError('has no access_secret');
  return {
    kind: 'own',
    description: 'the access key of nodePublishSecretRef',
    credential: {
      ...{ kind: 'keys', accessKeyId, accessKeySecret },
      ...(securityToken !== undefined && { securityToken }),
    },
    // The id of a key is not a secret. So the fingerprint needs the whole key.
    fingerprintFields: {
      identity: 'pod-keys',
      accessKeyId,
      accessKeySecret: accessKeySecret.reveal(),
      securityToken: securityToken?.reveal(),
    },
  };
}

/** Undefined if the key is missing or empty. @throws SecretError INVALID_REQUEST */
function findKey(secrets: Workload['secrets'], lowerCaseName: string): Redacted | undefined {
  const found = [...secrets].filter(([name]) => name.toLowerCase() === lowerCaseName);
  const [first, second] = found;
  if (first !== undefined && second !== undefined && first[1].reveal() !== second[1].reveal())
    throw podKeysError(
      `has both ${sanitizeUserText(first[0])} and ${sanitizeUserText(second[0])}, which differ`,
    );
  return first === undefined || first[1].reveal() === '' ? undefined : first[1];
}

function podKeysError(problem: string): SecretError {
  return new SecretError(
    'INVALID_REQUEST',
    `alibabacloud: the Secret of nodePublishSecretRef ${problem}`,
    { hint: 'give the Secret of nodePublishSecretRef the keys access_key and access_secret' },
  );
}
