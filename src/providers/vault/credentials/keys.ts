import { readFile } from 'node:fs/promises';
import { SecretError } from '../../../core/errors.ts';
import type { Principal } from '../../../core/provider.ts';
import { Redacted } from '../../../core/redacted.ts';
import type { Workload } from '../../../core/workload.ts';
import type { FingerprintField } from '../../shared/identity/fingerprint.ts';
import type { VaultSettings } from '../config.ts';
import type { VaultIdentity, VaultLogin } from '../types.ts';
import type { PodTokens } from './pod-tokens.ts';

/** Many times what an id or a token of Vault has. They are kept, for as many principals as there may be, and a Secret can be a megabyte. */
export const maxTokenLength = 32_768;

/** Of the pod's own: `role_id`, and `secret_id` where the role asks for one. @throws SecretError INVALID_REQUEST */
export function podAppRoleIdentity(workload: Workload, login: VaultLogin): ResolvedIdentity {
  const roleId = readPodSecret(workload, login, 'role_id');
  const secretId = readPodSecret(workload, login, 'secret_id');
  if (roleId === undefined)
    throw invalidSecretError(login, 'has no role_id', 'give it the keys role_id and secret_id');
  return {
    kind: 'own',
    description: 'the AppRole of nodePublishSecretRef',
    getCredential: () =>
      Promise.resolve({ kind: 'approle', roleId, ...(secretId !== undefined && { secretId }) }),
    fingerprintFields: {
      identity: 'pod-approle',
      roleId: roleId.reveal(),
      secretId: secretId?.reveal(),
    },
  };
}

/** Of the pod's own: `token`. @throws SecretError INVALID_REQUEST */
export function podTokenIdentity(workload: Workload, login: VaultLogin): ResolvedIdentity {
  const token = readPodSecret(workload, login, 'token');
  if (token === undefined) throw invalidSecretError(login, 'has no token', 'give it the key token');
  return {
    kind: 'own',
    description: 'the token of nodePublishSecretRef',
    getCredential: () => Promise.resolve({ kind: 'token', token }),
    fingerprintFields: { identity: 'pod-token', token: token.reveal() },
  };
}

/** A value of the Secret of `nodePublishSecretRef`. One made by hand may end in a line break. */
function readPodSecret(
  { secrets }: Workload,
  login: VaultLogin,
  name: string,
): Redacted | undefined {
  const text = secrets.get(name)?.reveal().trim() ?? '';
  if (text.length > maxTokenLength)
    throw invalidSecretError(
      login,
      `has a ${name} of more than ${maxTokenLength} characters`,
      'Vault makes none that long',
    );
  return text === '' ? undefined : new Redacted(text);
}

/** Who brings a Secret means to use it, and must not run under a shared identity because of a misspelt name. */
export function invalidSecretError(
  { dialect, method }: VaultLogin,
  reason: string,
  hint: string,
): SecretError {
  return new SecretError(
    'INVALID_REQUEST',
    `${dialect}: authMethod is ${method}, but the Secret of nodePublishSecretRef ${reason}`,
    { hint },
  );
}

/** Of the operator's files. @throws SecretError NOT_CONFIGURED */
export function operatorAppRoleIdentity(
  login: VaultLogin,
  { credentialFiles }: VaultSettings,
): ResolvedIdentity {
  const { roleIdFile, secretIdFile } = credentialFiles;
  if (roleIdFile === undefined)
    throw missingCredentialError(
      login,
      'AppRole',
      'role_id and secret_id',
      'KEYFERRY_VAULT_ROLE_ID_FILE',
    );
  return {
    kind: 'shared',
    description: 'the AppRole it is configured with',
    getCredential: async () => ({
      kind: 'approle',
      roleId: await readSecretFile(roleIdFile, 'role id'),
      ...(secretIdFile !== undefined && {
        secretId: await readSecretFile(secretIdFile, 'secret id'),
      }),
    }),
    fingerprintFields: { identity: 'provider-approle', roleIdFile, secretIdFile },
  };
}

/** A file, or an Agent that logs in by itself (auto-auth) at the socket the operator named: then no token is sent. @throws SecretError NOT_CONFIGURED */
export function operatorTokenIdentity(
  login: VaultLogin,
  { credentialFiles, nodeFacts }: VaultSettings,
): ResolvedIdentity {
  const { tokenFile } = credentialFiles;
  const usesAgent =
    nodeFacts.addresses.length > 0 &&
    nodeFacts.addresses.every((address) => address.startsWith('unix:'));
  if (tokenFile === undefined && !usesAgent)
    throw missingCredentialError(
      login,
      'token',
      'token',
      'KEYFERRY_VAULT_TOKEN_FILE, or VAULT_ADDR to the socket of an Agent',
    );
  return {
    kind: 'shared',
    description:
      tokenFile === undefined
        ? 'the Agent it is configured with'
        : 'the token it is configured with',
    getCredential: async () => ({
      kind: 'token',
      token: tokenFile === undefined ? new Redacted('') : await readSecretFile(tokenFile, 'token'),
    }),
    fingerprintFields: { identity: 'provider-token', tokenFile },
  };
}

/** The client certificate of the connection itself. @throws SecretError NOT_CONFIGURED, INVALID_REQUEST */
export function operatorCertificateIdentity(
  { secrets }: Workload,
  login: VaultLogin,
): ResolvedIdentity {
  if (secrets.size > 0)
    throw invalidSecretError(
      login,
      'is of no use to it',
      'use approle or token with what the pod brings',
    );
  if (login.tls.certFile === undefined)
    throw new SecretError(
      'NOT_CONFIGURED',
      `${login.dialect}: authMethod is cert, but Keyferry has no client certificate`,
      { hint: 'set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY in its DaemonSet' },
    );
  return {
    kind: 'shared',
    description: 'the client certificate it is configured with',
    getCredential: () => Promise.resolve({ kind: 'cert' }),
    fingerprintFields: { identity: 'provider-certificate' },
  };
}

function missingCredentialError(
  { dialect, method }: VaultLogin,
  credentialName: string,
  secretKeys: string,
  variable: string,
): SecretError {
  return new SecretError(
    'NOT_CONFIGURED',
    `${dialect}: authMethod is ${method}, but the pod brings no ${credentialName}, and Keyferry is configured with none`,
    {
      hint: `give the volume a nodePublishSecretRef with ${secretKeys}, or set ${variable} in the DaemonSet of Keyferry`,
    },
  );
}

/** The text of a file that shows Keyferry to Vault, without the space around it. @throws SecretError NOT_CONFIGURED */
async function readSecretFile(path: string, credentialName: string): Promise<Redacted> {
  const text = await readFile(path, 'utf8').then(
    (read) => read.trim(),
    () => '',
  );
  if (text !== '') return new Redacted(text);
  throw new SecretError('NOT_CONFIGURED', `there is no ${credentialName} in ${path}`, {
    hint: 'mount the file into the pod of Keyferry',
  });
}

/** Whose rights serve a workload. */
export type ResolvedIdentity = {
  readonly kind: Principal['identity'];
  readonly description: string;
  readonly getCredential: VaultIdentity['getCredential'];
  /** All that could change Vault's answer, beside the login. */
  readonly fingerprintFields: Readonly<Record<string, FingerprintField>>;
};

/** What {@link createResolveIdentity} needs. */
export type ResolveIdentityDeps = {
  readonly settings: VaultSettings;
  readonly podTokens: PodTokens;
};

/**
 * Whom a class makes of a workload. With methods `kubernetes` and `jwt` the pod itself, by its token; with `approle` and `token` whoever the keys
 * belong to that the pod brings; only where it brings none, and with `cert`, whom the operator configured for all.
 * @throws SecretError TOKEN_MISSING, TOKEN_INVALID, INVALID_REQUEST, NOT_CONFIGURED, and what a TokenRequest throws
 */
export function createResolveIdentity({ settings, podTokens }: ResolveIdentityDeps) {
  return async (
    workload: Workload,
    login: VaultLogin,
    signal: AbortSignal,
  ): Promise<ResolvedIdentity> => {
    switch (login.method) {
      case 'kubernetes':
      case 'jwt':
        return podJwtIdentity(
          workload,
          login,
          await podTokens(workload, login.audience, signal),
          settings,
        );
      case 'approle':
        return workload.secrets.size > 0
          ? podAppRoleIdentity(workload, login)
          : operatorAppRoleIdentity(login, settings);
      case 'token':
        return workload.secrets.size > 0
          ? podTokenIdentity(workload, login)
          : operatorTokenIdentity(login, settings);
      case 'cert':
        return operatorCertificateIdentity(workload, login);
    }
  };
}

function podJwtIdentity(
  workload: Workload,
  login: VaultLogin,
  { claims, getCredential }: Awaited<ReturnType<PodTokens>>,
  { jwtPrincipal }: VaultSettings,
): ResolvedIdentity {
  const { tenant: namespace, identity: serviceAccount } = workload;
  const isPodScoped = login.mayBindPod === true && jwtPrincipal === 'pod';
  return {
    kind: 'own',
    description: `the role ${login.role ?? ''} of auth/${login.mount} as ${namespace}/${serviceAccount.name}`,
    getCredential,
    fingerprintFields: {
      identity: 'pod',
      audience: login.audience,
      issuer: claims.issuer,
      namespace,
      serviceAccount: serviceAccount.name,
      serviceAccountUid: claims.serviceAccountUid,
      // As the driver says it: what a token says of it nobody has verified yet.
      pod: isPodScoped ? workload.instance : undefined,
    },
  };
}
