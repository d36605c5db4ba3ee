import { readFile } from 'node:fs/promises';
import { Redacted } from '../../errors/redacted.ts';
import { SecretError } from '../../errors/secret-error.ts';
import type { Workload } from '../../plan/workload.ts';
import type { Fingerprint, FingerprintField } from '../fingerprint.ts';
import type { Principal } from '../provider.ts';
import type { AlibabaConfig } from './config.ts';
import type { AlibabaCredentials } from './credentials.ts';
import type { AlibabaCredential, AlibabaIdentity } from './identity.ts';
import type { PodKeys } from './pod-keys.ts';
import { audience, type PodRole } from './pod-role.ts';
import type { SharedSource } from './shared-source.ts';

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
export type PrincipalOf = (base: BaseIdentity, role: string | undefined) => Principal<AlibabaCredential>;

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
      description: role === undefined ? base.description : `the role ${role}, assumed by ${base.description}`,
      identity: base.whose,
      credentials: (signal) => credentials.of(fingerprint, identity, signal),
    };
  };
}

/** The pod's role, by its token. */
export function podRoleBase({ namespace, serviceAccount }: Workload, role: PodRole): BaseIdentity {
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
export function podKeysBase({ accessKeyId, accessKeySecret, securityToken }: PodKeys): BaseIdentity {
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
