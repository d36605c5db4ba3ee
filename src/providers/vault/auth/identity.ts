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
export const longestToken = 32_768;

/** Of the pod's own: `role_id`, and `secret_id` where the role asks for one. @throws SecretError INVALID_REQUEST */
export function broughtAppRole(workload: Workload, login: VaultLogin): BaseIdentity {
  const roleId = broughtSecret(workload, login, 'role_id');
  const secretId = broughtSecret(workload, login, 'secret_id');
  if (roleId === undefined)
    throw badSecret(login, 'has no role_id', 'give it the keys role_id and secret_id');
  return {
    whose: 'own',
    description: 'the AppRole of nodePublishSecretRef',
    proof: () => Promise.resolve({ kind: 'approle', roleId, ...(secretId !== undefined && { secretId }) }),
    fields: { identity: 'pod-approle', roleId: roleId.reveal(), secretId: secretId?.reveal() },
  };
}

/** Of the pod's own: `token`. @throws SecretError INVALID_REQUEST */
export function broughtToken(workload: Workload, login: VaultLogin): BaseIdentity {
  const token = broughtSecret(workload, login, 'token');
  if (token === undefined) throw badSecret(login, 'has no token', 'give it the key token');
  return {
    whose: 'own',
    description: 'the token of nodePublishSecretRef',
    proof: () => Promise.resolve({ kind: 'token', token }),
    fields: { identity: 'pod-token', token: token.reveal() },
  };
}

/** A value of the Secret of `nodePublishSecretRef`. One made by hand may end in a line break. */
function broughtSecret({ secrets }: Workload, login: VaultLogin, name: string): Redacted | undefined {
  const text = secrets.get(name)?.reveal().trim() ?? '';
  if (text.length > longestToken)
    throw badSecret(
      login,
      `has a ${name} of more than ${longestToken} characters`,
      'Vault makes none that long',
    );
  return text === '' ? undefined : new Redacted(text);
}

/** Who brings a Secret means to use it, and must not run under a shared identity because of a misspelt name. */
export function badSecret({ dialect, method }: VaultLogin, why: string, hint: string): SecretError {
  return new SecretError(
    'INVALID_REQUEST',
    `${dialect}: authMethod is ${method}, but the Secret of nodePublishSecretRef ${why}`,
    { hint },
  );
}

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

/** Whose rights serve a workload. */
export type BaseIdentity = {
  readonly whose: Principal['identity'];
  readonly description: string;
  readonly proof: VaultIdentity['proof'];
  /** All that could change Vault's answer, beside the login. */
  readonly fields: Readonly<Record<string, FingerprintField>>;
};

/** What {@link createBaseIdentity} needs. */
export type BaseIdentityDeps = {
  readonly settings: VaultSettings;
  readonly podTokens: PodTokens;
};

/**
 * Whom a class makes of a workload. With methods `kubernetes` and `jwt` the pod itself, by its token; with `approle` and `token` whoever the keys
 * belong to that the pod brings; only where it brings none, and with `cert`, whom the operator configured for all.
 * @throws SecretError TOKEN_MISSING, TOKEN_INVALID, INVALID_REQUEST, NOT_CONFIGURED, and what a TokenRequest throws
 */
export function createBaseIdentity({ settings, podTokens }: BaseIdentityDeps) {
  return async (workload: Workload, login: VaultLogin, signal: AbortSignal): Promise<BaseIdentity> => {
    switch (login.method) {
      case 'kubernetes':
      case 'jwt':
        return podIdentity(workload, login, await podTokens(workload, login.audience, signal), settings);
      case 'approle':
        return workload.secrets.size > 0
          ? broughtAppRole(workload, login)
          : operatorsAppRole(login, settings);
      case 'token':
        return workload.secrets.size > 0 ? broughtToken(workload, login) : operatorsToken(login, settings);
      case 'cert':
        return operatorsCertificate(workload, login);
    }
  };
}

function podIdentity(
  workload: Workload,
  login: VaultLogin,
  { claims, proof }: Awaited<ReturnType<PodTokens>>,
  { jwtPrincipal }: VaultSettings,
): BaseIdentity {
  const { namespace, serviceAccount } = workload;
  const isOfPod = login.mayBindPod === true && jwtPrincipal === 'pod';
  return {
    whose: 'own',
    description: `the role ${login.role ?? ''} of auth/${login.mount} as ${namespace}/${serviceAccount.name}`,
    proof,
    fields: {
      identity: 'pod',
      audience: login.audience,
      issuer: claims.issuer,
      namespace,
      serviceAccount: serviceAccount.name,
      serviceAccountUid: claims.serviceAccountUid,
      // As the driver says it: what a token says of it nobody has verified yet.
      pod: isOfPod ? workload.instance : undefined,
    },
  };
}
