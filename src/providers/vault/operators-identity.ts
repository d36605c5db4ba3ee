import { readFile } from 'node:fs/promises';
import { Redacted } from '../../errors/redacted.ts';
import { SecretError } from '../../errors/secret-error.ts';
import type { Workload } from '../../plan/workload.ts';
import type { BaseIdentity } from './base-identity.ts';
import { badSecret } from './brought-identity.ts';
import type { VaultSettings } from './config.ts';
import type { VaultLogin } from './login.ts';

/** Of the operator's files. @throws SecretError NOT_CONFIGURED */
export function operatorsAppRole(login: VaultLogin, { shared }: VaultSettings): BaseIdentity {
  const { roleIdFile, secretIdFile } = shared;
  if (roleIdFile === undefined)
    throw missing(login, 'AppRole', 'role_id and secret_id', 'KEYFERRY_VAULT_ROLE_ID_FILE');
  return {
    whose: 'shared',
    description: 'the AppRole it is configured with',
    proof: async () => ({
      kind: 'approle',
      roleId: await readSecretFile(roleIdFile, 'role id'),
      ...(secretIdFile !== undefined && { secretId: await readSecretFile(secretIdFile, 'secret id') }),
    }),
    fields: { identity: 'provider-approle', roleIdFile, secretIdFile },
  };
}

/** A file, or an Agent that logs in by itself (auto-auth) at the socket the operator named: then no token is sent. @throws SecretError NOT_CONFIGURED */
export function operatorsToken(login: VaultLogin, { shared, facts }: VaultSettings): BaseIdentity {
  const { tokenFile } = shared;
  const byAgent =
    facts.addresses.length > 0 && facts.addresses.every((address) => address.startsWith('unix:'));
  if (tokenFile === undefined && !byAgent)
    throw missing(
      login,
      'token',
      'token',
      'KEYFERRY_VAULT_TOKEN_FILE, or VAULT_ADDR to the socket of an Agent',
    );
  return {
    whose: 'shared',
    description:
      tokenFile === undefined ? 'the Agent it is configured with' : 'the token it is configured with',
    proof: async () => ({
      kind: 'token',
      token: tokenFile === undefined ? new Redacted('') : await readSecretFile(tokenFile, 'token'),
    }),
    fields: { identity: 'provider-token', tokenFile },
  };
}

/** The client certificate of the connection itself. @throws SecretError NOT_CONFIGURED, INVALID_REQUEST */
export function operatorsCertificate({ secrets }: Workload, login: VaultLogin): BaseIdentity {
  if (secrets.size > 0)
    throw badSecret(login, 'is of no use to it', 'use approle or token with what the pod brings');
  if (login.tls.certFile === undefined)
    throw new SecretError(
      'NOT_CONFIGURED',
      `${login.dialect}: authMethod is cert, but Keyferry has no client certificate`,
      { hint: 'set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY in its DaemonSet' },
    );
  return {
    whose: 'shared',
    description: 'the client certificate it is configured with',
    proof: () => Promise.resolve({ kind: 'cert' }),
    fields: { identity: 'provider-certificate' },
  };
}

function missing({ dialect, method }: VaultLogin, what: string, keys: string, setting: string): SecretError {
  return new SecretError(
    'NOT_CONFIGURED',
    `${dialect}: authMethod is ${method}, but the pod brings no ${what}, and Keyferry is configured with none`,
    {
      hint: `give the volume a nodePublishSecretRef with ${keys}, or set ${setting} in the DaemonSet of Keyferry`,
    },
  );
}

/** The text of a file that shows Keyferry to Vault, without the space around it. @throws SecretError NOT_CONFIGURED */
async function readSecretFile(path: string, what: string): Promise<Redacted> {
  const text = await readFile(path, 'utf8').then(
    (read) => read.trim(),
    () => '',
  );
  if (text !== '') return new Redacted(text);
  throw new SecretError('NOT_CONFIGURED', `there is no ${what} in ${path}`, {
    hint: 'mount the file into the pod of Keyferry',
  });
}
