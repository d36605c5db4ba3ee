import { readFile } from 'node:fs/promises';
import { SecretError } from '../../core/errors.ts';
import type { Principal } from '../../core/provider.ts';
import { Redacted } from '../../core/redacted.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Fingerprint } from '../shared/identity/fingerprint.ts';
import type { Identity, IdentitySource } from '../shared/identity/identity-source.ts';
import type { AlibabaLogin } from './class/parameters.ts';
import type { AlibabaConfig } from './config.ts';
import type { SharedCredentialSource } from './config-identity.ts';
import type { AlibabaCredentials } from './credentials/index.ts';
import { audience, readPodKeysIdentity, readPodRoleIdentity } from './pod-identities.ts';
import type { AlibabaCredential, CredentialSource } from './types.ts';

/**
 * The identities that can serve a workload, own ones first: the role of its ServiceAccount if the
 * class has `usePodServiceAccountToken`, then the keys of its pod, then the one that the operator
 * configured.
 */
export function createIdentitySources(deps: {
  readonly config: AlibabaConfig;
  readonly serviceAccounts: ServiceAccounts;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): readonly IdentitySource<AlibabaLogin, CredentialSource>[] {
  const { config, serviceAccounts, now } = deps;
  const { oidcProviderArn, shared } = config;
  const sharedIdentity = sharedIdentityOf(shared);
  return [
    async (workload, { podToken }, context) =>
      podToken
        ? readPodRoleIdentity({ serviceAccounts, oidcProviderArn, now }, workload, context)
        : undefined,
    async (workload) => readPodKeysIdentity(workload),
    async () => sharedIdentity,
  ];
}

/** The identity that the operator configured, for every workload without an own one. */
function sharedIdentityOf(source: SharedCredentialSource): Identity<CredentialSource> {
  const kind = 'shared';
  switch (source.kind) {
    case 'rrsa': {
      const { tokenFile, ...role } = source;
      const { roleArn, oidcProviderArn, sessionName } = role;
      return {
        ...{ kind, description: `the role ${roleArn}` },
        credential: { ...role, token: () => readToken(tokenFile) },
        fingerprintFields: { identity: 'provider-role', roleArn, oidcProviderArn, sessionName },
      };
    }
    case 'keys-role': {
      const { roleArn } = source;
      return {
        ...{ kind, description: `the role ${roleArn}`, credential: source },
        fingerprintFields: { ...keyFields(source), identity: 'provider-keys-role', roleArn },
      };
    }
    case 'keys':
      return {
        ...{ kind, description: 'the access key it is configured with', credential: source },
        fingerprintFields: { ...keyFields(source), identity: 'provider-keys' },
      };
    case 'worker-role':
      return {
        ...{ kind, description: 'the RAM role of this node', credential: source },
        fingerprintFields: { identity: 'worker-role' },
      };
  }
}

function keyFields(keys: { readonly accessKeyId: string; readonly accessKeySecret: Redacted }) {
  return { accessKeyId: keys.accessKeyId, accessKeySecret: keys.accessKeySecret.reveal() };
}

/** Each login reads the file again, because the token in it rotates. */
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

/** Makes the principal of an identity, and of the role that it assumes for a ref. */
export type PrincipalOf = (
  identity: Identity<CredentialSource>,
  role: string | undefined,
) => Principal<AlibabaCredential>;

/** See {@link PrincipalOf}. */
export function createPrincipalOf(deps: {
  readonly config: Pick<AlibabaConfig, 'cloud'>;
  readonly credentials: Pick<AlibabaCredentials, 'get'>;
  readonly fingerprint: Fingerprint;
}): PrincipalOf {
  const { config, credentials } = deps;
  const { kms, oos, sts } = config.cloud;
  const storeFields = {
    ...{ provider: 'alibabacloud', kms: String(kms), oos: String(oos), sts: sts.href },
  };
  return ({ kind, description, credential, fingerprintFields }, role) => {
    const fingerprint = deps.fingerprint({
      ...{ ...storeFields, ...fingerprintFields },
      crossAccountRole: role,
    });
    const source = { ...credential, ...(role !== undefined && { crossAccountRoleArn: role }) };
    return {
      fingerprint,
      description: role === undefined ? description : `the role ${role}, assumed by ${description}`,
      kind,
      credentials: (signal) => credentials.get(fingerprint, source, signal),
    };
  };
}
