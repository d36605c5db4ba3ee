import { readFile } from 'node:fs/promises';
import { SecretError } from '../../core/errors.ts';
import type { AuthorizeContext, Principal } from '../../core/provider.ts';
import { Redacted } from '../../core/redacted.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { Workload } from '../../core/workload.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Fingerprint, FingerprintField } from '../shared/identity/fingerprint.ts';
import { type WorkloadToken, readWorkloadToken } from '../shared/identity/workload-token.ts';
import { roleArnShape } from './class/object-ref.ts';
import type { AlibabaConfig, SharedSource } from './config.ts';
import type { AlibabaCredentials } from './credentials/index.ts';
import type { AlibabaCredential, AlibabaIdentity } from './types.ts';

/** Keys that a pod brings. */
export type PodKeys = {
  readonly accessKeyId: Redacted;
  readonly accessKeySecret: Redacted;
  readonly securityToken?: Redacted;
};

const hint = 'give the Secret of nodePublishSecretRef the keys access_key and access_secret';

/**
 * The keys in the Secret of `nodePublishSecretRef`: `access_key` and `access_secret`, `security_token` for a session, in any letter case;
 * nothing where the pod has no such Secret. One that holds no keys is an error: who brings a Secret means to use it, and must not
 * run under a shared identity because of a misspelt name.
 * @throws SecretError INVALID_REQUEST
 */
export function readPodKeys({ secrets }: Pick<Workload, 'secrets'>): PodKeys | undefined {
  if (secrets.size === 0) return undefined;
  const find = (wanted: string): Redacted | undefined => {
    const found = [...secrets].filter(([name]) => name.toLowerCase() === wanted);
    const [first, second] = found;
    if (first !== undefined && second !== undefined && first[1].reveal() !== second[1].reveal())
      throw refusal(
        `has both ${sanitizeExternalText(first[0])} and ${sanitizeExternalText(second[0])}, which differ`,
      );
    return first === undefined || first[1].reveal() === '' ? undefined : first[1];
  };
  const accessKeyId = find('access_key');
  const accessKeySecret = find('access_secret');
  const securityToken = find('security_token');
  if (accessKeyId === undefined) throw refusal('has no access_key');
  if (accessKeySecret === undefined) throw refusal('has no access_secret');
  return { accessKeyId, accessKeySecret, ...(securityToken !== undefined && { securityToken }) };
}

function refusal(why: string): SecretError {
  return new SecretError(
    'INVALID_REQUEST',
    `alibabacloud: the Secret of nodePublishSecretRef ${why}`,
    {
      hint,
    },
  );
}

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
  { signal, notBefore }: AuthorizeContext,
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
  const { tenant: namespace, identity: serviceAccount } = workload;
  const { name } = serviceAccount;
  const { annotations } = await serviceAccounts.get({ namespace, name, notBefore, signal });
  const roleArn = annotations.get(roleAnnotation)?.trim() ?? '';
  if (!roleArnShape.test(roleArn)) throw noRole(workload, roleArn);
  return { roleArn, oidcProviderArn, sessionName: sessionNameOf(namespace, name), token };
}

function noRole(
  { tenant: namespace, identity: serviceAccount }: Workload,
  text: string,
): SecretError {
  const fault =
    text === '' ? 'is missing' : `is no ARN of a RAM role: ${sanitizeExternalText(text)}`;
  return new SecretError(
    'NOT_GRANTED',
    `alibabacloud: ServiceAccount ${sanitizeExternalText(namespace)}/${sanitizeExternalText(serviceAccount.name)} has no role: its annotation ` +
      `${roleAnnotation} ${fault}`,
    { hint: `annotate it with ${roleAnnotation}: acs:ram::<account id>:role/<name>` },
  );
}

/** The name of a session, in Alibaba Cloud's audit log: `<namespace>.<account>`, as far as 64 characters go. */
function sessionNameOf(namespace: string, serviceAccount: string): string {
  return `${namespace}.${serviceAccount}`.replace(/[^\w.@=-]/g, '-').slice(0, 64);
}

/** An identity before any role is assumed on top of it. */
export type BaseIdentity = {
  readonly whose: Principal['identity'];
  readonly description: string;
  /** Logs in, with a role on top or without. */
  readonly identity: AlibabaIdentity;
  /** All that could change the store's answer. */
  readonly fields: Readonly<Record<string, FingerprintField>>;
};

/** Whom the store sees: a base, and the role that is assumed on top of it. */
export type PrincipalOf = (
  base: BaseIdentity,
  role: string | undefined,
) => Principal<AlibabaCredential>;

/** See {@link PrincipalOf}. */
export function createPrincipals(deps: {
  readonly config: AlibabaConfig;
  readonly credentials: Pick<AlibabaCredentials, 'of'>;
  readonly fingerprint: Fingerprint;
}): PrincipalOf {
  const { config, credentials } = deps;
  const { kms, oos, sts } = config.cloud;
  const place = { provider: 'alibabacloud', kms: String(kms), oos: String(oos), sts: sts.href };
  return (base, role) => {
    const fingerprint = deps.fingerprint({ ...place, ...base.fields, crossAccountRole: role });
    const identity = { ...base.identity, ...(role !== undefined && { crossAccountRoleArn: role }) };
    return {
      fingerprint,
      description:
        role === undefined ? base.description : `the role ${role}, assumed by ${base.description}`,
      identity: base.whose,
      credentials: (signal) => credentials.of(fingerprint, identity, signal),
    };
  };
}

/** The pod's role, by its token. */
export function podRoleBase(
  { tenant: namespace, identity: serviceAccount }: Workload,
  role: PodRole,
): BaseIdentity {
  const { roleArn, oidcProviderArn, sessionName, token } = role;
  return {
    whose: 'own',
    description: `the role ${roleArn} as ${sessionName}`,
    identity: {
      kind: 'rrsa',
      roleArn,
      oidcProviderArn,
      sessionName,
      token: () => Promise.resolve(token.token),
    },
    fields: {
      identity: 'pod-role',
      roleArn,
      oidcProviderArn,
      audience,
      issuer: token.issuer,
      namespace,
      serviceAccount: serviceAccount.name,
      serviceAccountUid: token.serviceAccountUid,
    },
  };
}

/** The keys the pod brings. The whole key is part of who asks: to know an id is not to have its secret. */
export function podKeysBase({
  accessKeyId,
  accessKeySecret,
  securityToken,
}: PodKeys): BaseIdentity {
  return {
    whose: 'own',
    description: 'the access key of nodePublishSecretRef',
    identity: {
      kind: 'keys',
      accessKeyId: accessKeyId.reveal(),
      accessKeySecret,
      ...(securityToken !== undefined && { securityToken }),
    },
    fields: {
      identity: 'pod-keys',
      accessKeyId: accessKeyId.reveal(),
      accessKeySecret: accessKeySecret.reveal(),
      securityToken: securityToken?.reveal(),
    },
  };
}

/** What the operator configured for all. */
export function sharedBase(source: SharedSource): BaseIdentity {
  const whose = 'shared';
  switch (source.kind) {
    case 'rrsa': {
      const { tokenFile, ...rest } = source;
      const { roleArn, oidcProviderArn, sessionName } = rest;
      return {
        ...{ whose, description: `the role ${roleArn}` },
        identity: { ...rest, token: () => readToken(tokenFile) },
        fields: { identity: 'provider-role', roleArn, oidcProviderArn, sessionName },
      };
    }
    case 'keys-role':
      return {
        ...{ whose, description: `the role ${source.roleArn}`, identity: source },
        fields: { ...keyFields(source), identity: 'provider-keys-role', roleArn: source.roleArn },
      };
    case 'keys':
      return {
        ...{ whose, description: 'the access key it is configured with', identity: source },
        fields: { ...keyFields(source), identity: 'provider-keys' },
      };
    case 'worker-role':
      return {
        ...{ whose, description: 'the RAM role of this node', identity: source },
        fields: { identity: 'worker-role' },
      };
  }
}

function keyFields(keys: { readonly accessKeyId: string; readonly accessKeySecret: Redacted }) {
  return { accessKeyId: keys.accessKeyId, accessKeySecret: keys.accessKeySecret.reveal() };
}

/** Read at each login, so that a token that is rotated is found. */
async function readToken(path: string): Promise<Redacted> {
  const token = await readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => '',
  );
  if (token !== '') return new Redacted(token);
  throw new SecretError('NOT_CONFIGURED', `there is no token in ${path}`, {
    hint: `project a ServiceAccount token for the audience ${audience} there, or set ALICLOUD_OIDC_TOKEN_FILE`,
  });
}
