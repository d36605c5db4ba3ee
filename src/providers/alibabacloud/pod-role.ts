import { SecretError } from '../../errors/secret-error.ts';
import { quoteForeign } from '../../errors/status-text.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Workload } from '../../plan/workload.ts';
import type { Admission } from '../provider.ts';
import { readWorkloadToken, type WorkloadToken } from '../workload-token.ts';
import { roleArnShape } from './arn.ts';

/** The audience of the tokens that STS takes. */
export const audience = 'sts.aliyuncs.com';
/** The annotation of a ServiceAccount that names the RAM role of its pods. */
export const roleAnnotation = 'ack.alibabacloud.com/role-arn';

/** Everything a pod needs to be somebody by its own token. */
export type PodRole = {
  readonly roleArn: string;
  readonly oidcProviderArn: string;
  readonly sessionName: string;
  readonly token: WorkloadToken;
};

/** What {@link readPodRole} needs. */
export type PodRoleDeps = {
  readonly serviceAccounts: ServiceAccounts;
  readonly oidcProviderArn: string | undefined;
  readonly now: () => number;
};

/**
 * The role of the pod's ServiceAccount and the token that proves who the pod is. Both or an error: there is no other identity for a class that
 * asks for the pod's own.
 * @throws SecretError NOT_CONFIGURED, TOKEN_MISSING, TOKEN_INVALID, NOT_GRANTED, ADMISSION_UNAVAILABLE
 */
export async function readPodRole(
  { serviceAccounts, oidcProviderArn, now }: PodRoleDeps,
  workload: Workload,
  { signal, notBefore }: Admission,
): Promise<PodRole> {
  if (oidcProviderArn === undefined)
    throw new SecretError(
      'NOT_CONFIGURED',
      'alibabacloud: the class has usePodServiceAccountToken, but Keyferry does not know the OIDC provider of this cluster',
      {
        hint: 'set ALICLOUD_OIDC_PROVIDER_ARN, or ALICLOUD_ACCOUNT_ID and ALICLOUD_CLUSTER_ID, in its DaemonSet',
      },
    );
  const token = readWorkloadToken(workload, audience, now());
  const { namespace, serviceAccount } = workload;
  const { name } = serviceAccount;
  const { annotations } = await serviceAccounts.get({ namespace, name, notBefore, signal });
  const roleArn = annotations.get(roleAnnotation)?.trim() ?? '';
  if (!roleArnShape.test(roleArn)) throw noRole(workload, roleArn);
  return { roleArn, oidcProviderArn, sessionName: sessionNameOf(namespace, name), token };
}

function noRole({ namespace, serviceAccount }: Workload, text: string): SecretError {
  const fault = text === '' ? 'is missing' : `is no ARN of a RAM role: ${quoteForeign(text)}`;
  return new SecretError(
    'NOT_GRANTED',
    `alibabacloud: ServiceAccount ${quoteForeign(namespace)}/${quoteForeign(serviceAccount.name)} has no role: its annotation ` +
      `${roleAnnotation} ${fault}`,
    { hint: `annotate it with ${roleAnnotation}: acs:ram::<account id>:role/<name>` },
  );
}

/** The name of a session, in Alibaba Cloud's audit log: `<namespace>.<account>`, as far as 64 characters go. */
function sessionNameOf(namespace: string, serviceAccount: string): string {
  return `${namespace}.${serviceAccount}`.replace(/[^\w.@=-]/g, '-').slice(0, 64);
}
