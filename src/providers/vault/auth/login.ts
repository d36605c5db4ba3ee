import { createHash } from 'node:crypto';
import * as z from 'zod';
import { SecretError, toSecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import { quoteForeign } from '../../../core/safe-text.ts';
import { encodeSegment } from '../../../http/endpoint.ts';
import type { Proving } from '../../shared/credentials/credential-gate.ts';
import type { VaultAnswer, VaultApi } from '../client/client.ts';
import { productOf, readFault, whose } from '../client/errors.ts';
import type { TlsFiles } from '../client/tls-files.ts';
import type { VaultLogin, VaultProof } from '../types.ts';
import { longestToken } from './identity.ts';
import { refusal } from './login-errors.ts';

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

/** What a login gave. */
export type Welcome = {
  readonly token: Redacted;
  /** Milliseconds since the epoch; Infinity: never. */
  readonly expiresAt: number;
  readonly renewable: boolean;
  /** Kept nowhere by Vault: it can be neither renewed nor revoked. */
  readonly isBatch: boolean;
  /** For how many calls it is good; Infinity: any number. */
  readonly uses: number;
};

const authSchema = z.object({
  client_token: z.string().min(1).max(longestToken),
  lease_duration: z.number().nonnegative(),
  renewable: z.boolean(),
  token_type: z.string().optional(),
  num_uses: z.number().optional(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
});

/** The `auth` of an answer. @throws SecretError STORE_ANSWER_INVALID */
export function readAuth(answer: VaultAnswer, login: VaultLogin): z.infer<typeof authSchema> {
  const read = z.object({ auth: authSchema }).safeParse(answer.json());
  if (read.success) return read.data.auth;
  throw new SecretError(
    'STORE_ANSWER_INVALID',
    `${productOf(login)} welcomed ${whose({ login })} with something we do not understand`,
    { hint: 'a role that asks for more than one factor cannot be used; else check the address' },
  );
}

/**
 * Logs in once. What was refused is not shown again for a while, by whomever; other proofs are tried at once.
 * @throws SecretError CREDENTIALS_REFUSED; CREDENTIALS_UNAVAILABLE where Vault cannot answer; the signal's reason
 */
export async function logIn(
  deps: { readonly api: VaultApi; readonly proving: Proving; readonly now: () => number },
  login: VaultLogin,
  request: LoginRequest,
  signal: AbortSignal,
): Promise<Welcome> {
  try {
    return await deps.proving.run(request.digest, signal, () => showProof(deps, login, request, signal));
  } catch (thrown) {
    signal.throwIfAborted();
    throw asLoginFailure(toSecretError(thrown), login);
  }
}

async function showProof(
  { api, now }: { readonly api: VaultApi; readonly now: () => number },
  login: VaultLogin,
  { fields, secrets }: LoginRequest,
  signal: AbortSignal,
): Promise<Welcome> {
  const askedAt = now();
  const answer = await api.call({
    ...{ login, method: 'POST', path: `auth/${mountPath(login)}/login`, signal },
    body: JSON.stringify(fields),
    // A token.
    issues: true,
    accept: [400, 401, 403, 404],
  });
  if (answer.status >= 300) throw refusal(readFault(answer), login, secrets);
  const auth = readAuth(answer, login);
  checkMethod(auth.metadata ?? {}, login);
  return {
    token: new Redacted(auth.client_token),
    expiresAt: auth.lease_duration === 0 ? Infinity : askedAt + auth.lease_duration * 1_000,
    renewable: auth.renewable,
    isBatch: auth.token_type === 'batch' || /^(hvb|b)\./.test(auth.client_token),
    uses: auth.num_uses === undefined || auth.num_uses === 0 ? Infinity : auth.num_uses,
  };
}

/**
 * The class names the mount, and the methods at some believe the connection: that of certificates our own client certificate, an Agent's socket the Agent's
 * login. Neither is the pod, so what Vault says of the login has to be what a method that looked at the proof says.
 * @throws SecretError CREDENTIALS_REFUSED
 */
function checkMethod(metadata: Readonly<Record<string, unknown>>, login: VaultLogin): void {
  const { method, mount, role } = login;
  if (method === 'cert' || (method === 'approle' ? 'role_name' in metadata : metadata.role === role)) return;
  throw new SecretError(
    'CREDENTIALS_REFUSED',
    `${productOf(login)} welcomed ${whose({ login })} as somebody else: the mount is not of the method ${method}`,
    { hint: `name the mount of the method ${method} in place of auth/${quoteForeign(mount)}` },
  );
}

function mountPath({ mount }: VaultLogin): string {
  return mount.split('/').map(encodeSegment).join('/');
}

/** Tells an outage of the login from one of a read. */
function asLoginFailure(error: SecretError, login: VaultLogin): SecretError {
  const { kind, message, hint } = error;
  if (kind !== 'outage') return error;
  return new SecretError('CREDENTIALS_UNAVAILABLE', `no token for ${whose({ login })}: ${message}`, {
    ...(hint !== undefined && { hint }),
  });
}
