import { SecretError } from '../../errors/secret-error.ts';
import { quoteForeign } from '../../errors/status-text.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Workload } from '../../plan/workload.ts';
import type { Admission } from '../provider.ts';
import { readWorkloadToken, type WorkloadToken } from '../workload-token.ts';
import { roleArnShape } from './arn.ts';

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
  { signal, notBefore }: Admission,
): Promise<IrsaRole | undefined> {
  const { namespace, serviceAccount } = workload;
  const { name } = serviceAccount;
  const account = await deps.serviceAccounts.get({ namespace, name, notBefore, signal });
  const roleArn = account.annotations.get(roleAnnotation)?.trim();
  if (roleArn === undefined) return undefined;
  if (!roleArnShape.test(roleArn))
    throw noRole(workload, `is no ARN of an IAM role: ${quoteForeign(roleArn)}`, `write ${annotationLine}`);
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

function noRole({ namespace, serviceAccount }: Workload, fault: string, hint: string): SecretError {
  const account = `${quoteForeign(namespace)}/${quoteForeign(serviceAccount.name)}`;
  return new SecretError(
    'NOT_GRANTED',
    `aws: ServiceAccount ${account} has no role: its annotation ${roleAnnotation} ${fault}`,
    { hint },
  );
}
