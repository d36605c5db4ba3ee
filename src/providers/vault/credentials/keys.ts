import { readFile } from 'node:fs/promises';
import { SecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import type { Workload } from '../../../core/workload.ts';
import type { Identity } from '../../shared/identity/identity-source.ts';
import type { VaultSettings } from '../config.ts';
import type { VaultIdentity, VaultLogin } from '../types.ts';

type KeyIdentity = Identity<VaultIdentity['getCredential']>;

/**
 * Many times the length of an id or a token of Vault. Keyferry keeps them, one for each principal,
 * and a Secret can have a megabyte.
 */
export const maxTokenLength = 32_768;

/**
 * The AppRole of the pod: the key `role_id`, and `secret_id` where the role needs one.
 * @throws SecretError INVALID_REQUEST
 */
export function podAppRole(workload: Workload, login: VaultLogin): KeyIdentity {
  const roleId = readPodSecret(workload, login, 'role_id');
  const secretId = readPodSecret(workload, login, 'secret_id');
  if (roleId === undefined)
    throw invalidSecretError(login, 'has no role_id', 'give it the keys role_id and secret_id');
  return {
    kind: 'own',
    description: 'the AppRole of nodePublishSecretRef',
    credential: () =>
      Promise.resolve({ kind: 'approle', roleId, ...(secretId !== undefined && { secretId }) }),
    fingerprintFields: {
      identity: 'pod-approle',
      roleId: roleId.reveal(),
      secretId: secretId?.reveal(),
    },
  };
}

/** The token of the pod: the key `token`. @throws SecretError INVALID_REQUEST */
export function podToken(workload: Workload, login: VaultLogin): KeyIdentity {
  const token = readPodSecret(workload, login, 'token');
  if (token === undefined) throw invalidSecretError(login, 'has no token', 'give it the key token');
  return {
    kind: 'own',
    description: 'the token of nodePublishSecretRef',
    credential: () => Promise.resolve({ kind: 'token', token }),
    fingerprintFields: { identity: 'pod-token', token: token.reveal() },
  };
}

/** A value of the Secret of `nodePublishSecretRef`. A hand-made one can end in a line break. */
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

/**
 * A pod with a Secret must not run under a shared identity because of a misspelt key, so a Secret
 * that does not fit is an error.
 */
function invalidSecretError(
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

/** The AppRole in the operator's files. @throws SecretError NOT_CONFIGURED */
export function operatorAppRole(
  login: VaultLogin,
  { credentialFiles }: VaultSettings,
): KeyIdentity {
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
    credential: async () => ({
      kind: 'approle',
      roleId: await readCredentialFile(roleIdFile, 'role id', mountHint),
      ...(secretIdFile !== undefined && {
        secretId: await readCredentialFile(secretIdFile, 'secret id', mountHint),
      }),
    }),
    fingerprintFields: { identity: 'provider-approle', roleIdFile, secretIdFile },
  };
}

/**
 * The token in the operator's file. Without a file it is the token of an Agent that logs in by
 * itself (auto-auth) at the configured socket: then no token is sent.
 * @throws SecretError NOT_CONFIGURED
 */
export function operatorToken(
  login: VaultLogin,
  { credentialFiles, nodeFacts }: VaultSettings,
): KeyIdentity {
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
    credential: async () => ({
      kind: 'token',
      token:
        tokenFile === undefined
          ? new Redacted('')
          : await readCredentialFile(tokenFile, 'token', mountHint),
    }),
    fingerprintFields: { identity: 'provider-token', tokenFile },
  };
}

/**
 * The client certificate of the connection itself.
 * @throws SecretError NOT_CONFIGURED, INVALID_REQUEST
 */
export function operatorCertificate({ secrets }: Workload, login: VaultLogin): KeyIdentity {
  if (secrets.size > 0)
    throw invalidSecretError(
      login,
      'is of no use to it',
      'use approle or token with the keys of the pod',
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
    credential: () => Promise.resolve({ kind: 'cert' }),
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
    `${dialect}: authMethod is ${method}, but the pod has no ${credentialName}, and Keyferry is configured with none`,
    {
      hint: `give the volume a nodePublishSecretRef with ${secretKeys}, or set ${variable} in the DaemonSet of Keyferry`,
    },
  );
}

const mountHint = 'mount the file into the pod of Keyferry';

/** The trimmed text of a credential file. @throws SecretError NOT_CONFIGURED, with this hint */
export async function readCredentialFile(
  path: string,
  credentialName: string,
  hint: string,
): Promise<Redacted> {
  const text = await readFile(path, 'utf8').then(
    (read) => read.trim(),
    () => '',
  );
  if (text !== '') return new Redacted(text);
  throw new SecretError('NOT_CONFIGURED', `there is no ${credentialName} in ${path}`, {
    hint,
  });
}
