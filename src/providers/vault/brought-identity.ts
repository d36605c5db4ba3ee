import { Redacted } from '../../errors/redacted.ts';
import { SecretError } from '../../errors/secret-error.ts';
import type { Workload } from '../../plan/workload.ts';
import type { BaseIdentity } from './base-identity.ts';
import type { VaultLogin } from './login.ts';

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
