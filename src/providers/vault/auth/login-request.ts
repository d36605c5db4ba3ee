import { createHash } from 'node:crypto';
import type { Redacted } from '../../../errors/redacted.ts';
import { SecretError } from '../../../errors/secret-error.ts';
import type { VaultProof } from '../identity.ts';
import type { VaultLogin } from '../login.ts';
import type { TlsFiles } from '../tls-files.ts';

/** What is shown at `auth/<mount>/login`. */
export type LoginRequest = {
  readonly fields: Readonly<Record<string, string>>;
  /** Must not be in any message. */
  readonly secrets: readonly string[];
  /** Stands for where this is shown and for every character of it. */
  readonly digest: string;
};

/**
 * What a proof looks like to its method.
 * @throws SecretError NOT_CONFIGURED for a certificate that cannot be read
 */
export async function loginRequest(
  login: VaultLogin,
  proof: VaultProof,
  tlsFiles: TlsFiles,
): Promise<LoginRequest> {
  const { role } = login;
  const request = (fields: LoginRequest['fields'], secrets: readonly string[]): LoginRequest => ({
    fields,
    secrets,
    digest: digestOf(login, secrets),
  });
  switch (proof.kind) {
    case 'jwt': {
      const jwt = proof.token.reveal();
      return request({ role: role ?? '', jwt }, [jwt]);
    }
    case 'approle': {
      const [roleId, secretId] = [proof.roleId.reveal(), proof.secretId?.reveal()];
      const fields = { role_id: roleId, ...(secretId !== undefined && { secret_id: secretId }) };
      return request(fields, Object.values(fields));
    }
    case 'cert': {
      const { cert = '' } = (await tlsFiles.read(login.tls)) ?? {};
      return { ...request(role === undefined ? {} : { name: role }, [cert]), secrets: [] };
    }
    case 'token':
      throw new SecretError('INTERNAL', 'a token was to log in, which needs no login');
  }
}

function digestOf(
  { addresses, namespace, method, mount, role }: VaultLogin,
  secrets: readonly string[],
): string {
  return createHash('sha256')
    .update(JSON.stringify([addresses, namespace, method, mount, role, secrets]))
    .digest('base64');
}

/** A token that no login made. */
export function givenToken(proof: VaultProof): Redacted {
  if (proof.kind === 'token') return proof.token;
  throw new SecretError('INTERNAL', 'a login by token was not given one');
}
