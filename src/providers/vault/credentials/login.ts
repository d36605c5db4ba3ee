import { createHash } from 'node:crypto';
import * as z from 'zod';
import { SecretError, toSecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import { encodeSegment } from '../../../http/endpoint.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import type { VaultResponse, VaultApi } from '../call/api.ts';
import { classify } from '../../shared/reads/store-errors.ts';
import { describeIdentity, productName } from '../describe.ts';
import { loginErrors, parseErrorResponse } from '../errors.ts';
import type { TlsFiles } from '../call/tls-files.ts';
import type { VaultLogin, VaultCredential } from '../types.ts';
import { maxTokenLength } from './keys.ts';

/** The request to `auth/<mount>/login`. */
export type LoginRequest = {
  readonly fields: Readonly<Record<string, string>>;
  /** Must not be in any message. */
  readonly secrets: readonly string[];
  /** Differs whenever the destination or a character of the credential differs. */
  readonly digest: string;
};

/**
 * Makes the login request of a credential.
 * @throws SecretError NOT_CONFIGURED for a certificate that cannot be read
 */
export async function createLoginRequest(
  login: VaultLogin,
  credential: VaultCredential,
  tlsFiles: TlsFiles,
): Promise<LoginRequest> {
  const { role } = login;
  const request = (fields: LoginRequest['fields'], secrets: readonly string[]): LoginRequest => ({
    fields,
    secrets,
    digest: digestOf(login, secrets),
  });
  switch (credential.kind) {
    case 'jwt': {
      const jwt = credential.token.reveal();
      return request({ role: role ?? '', jwt }, [jwt]);
    }
    case 'approle': {
      const [roleId, secretId] = [credential.roleId.reveal(), credential.secretId?.reveal()];
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

/** Returns the token of method `token`, which has no login. */
export function requireStaticToken(credential: VaultCredential): Redacted {
  if (credential.kind === 'token') return credential.token;
  throw new SecretError('INTERNAL', 'a login by token was not given one');
}

/** The result of a login. */
export type LoginResult = {
  readonly token: Redacted;
  /** Milliseconds since the epoch; Infinity: never. */
  readonly expiresAt: number;
  readonly renewable: boolean;
  /** Vault does not store the token, so it can be neither renewed nor revoked. */
  readonly isBatch: boolean;
  /** For how many calls it is valid; Infinity: any number. */
  readonly uses: number;
};

const authSchema = z.object({
  client_token: z.string().min(1).max(maxTokenLength),
  lease_duration: z.number().nonnegative(),
  renewable: z.boolean(),
  token_type: z.string().optional(),
  num_uses: z.number().optional(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
});

/** Reads the `auth` of a response. @throws SecretError STORE_ANSWER_INVALID */
export function readAuth(response: VaultResponse, login: VaultLogin): z.infer<typeof authSchema> {
  const parsed = z.object({ auth: authSchema }).safeParse(response.json());
  if (parsed.success) return parsed.data.auth;
  throw new SecretError(
    'STORE_ANSWER_INVALID',
    `${productName(login)} sent a response to the login of ${describeIdentity({ login })} that Keyferry does not understand`,
    { hint: 'a role that requires more than one factor cannot be used; else check the address' },
  );
}

/**
 * Logs in once. After a refusal no principal uses the same credential again for a while; another
 * credential is tried at once.
 * @throws SecretError CREDENTIALS_REFUSED; CREDENTIALS_UNAVAILABLE for an outage; the signal's
 *   reason
 */
export async function logIn(
  deps: {
    readonly api: VaultApi;
    readonly credentialGate: CredentialGate;
    readonly now: () => number;
  },
  login: VaultLogin,
  request: LoginRequest,
  signal: AbortSignal,
): Promise<LoginResult> {
  try {
    return await deps.credentialGate.run(request.digest, signal, () =>
      sendLogin(deps, login, request, signal),
    );
  } catch (thrown) {
    signal.throwIfAborted();
    throw toLoginError(toSecretError(thrown), login);
  }
}

async function sendLogin(
  { api, now }: { readonly api: VaultApi; readonly now: () => number },
  login: VaultLogin,
  { fields, secrets }: LoginRequest,
  signal: AbortSignal,
): Promise<LoginResult> {
  const sentAt = now();
  const response = await api.call({
    ...{ login, method: 'POST', path: `auth/${mountPath(login)}/login`, signal },
    body: JSON.stringify(fields),
    secrets,
    // It issues a token. One that is lost ends by itself, but a secret id has a limit of uses.
    mayIssue: true,
    isRepeatable: login.method !== 'approle',
    accept: [400, 401, 403, 404],
  });
  if (response.status >= 300)
    throw classify(loginErrors, parseErrorResponse(response, now()), login, secrets);
  const auth = readAuth(response, login);
  checkMethod(auth.metadata ?? {}, login);
  return {
    token: new Redacted(auth.client_token),
    expiresAt: auth.lease_duration === 0 ? Infinity : sentAt + auth.lease_duration * 1_000,
    renewable: auth.renewable,
    isBatch: auth.token_type === 'batch' || /^(hvb|b)\./.test(auth.client_token),
    uses: auth.num_uses === undefined || auth.num_uses === 0 ? Infinity : auth.num_uses,
  };
}

/**
 * Checks that the mount, which the class names, is of the right method. Some mounts authenticate
 * the connection and not the pod: a mount of certificates takes Keyferry's own client certificate,
 * the socket of an Agent takes the Agent's login. So the metadata of the login must be those of a
 * method that checked the credential.
 * @throws SecretError CREDENTIALS_REFUSED
 */
function checkMethod(metadata: Readonly<Record<string, unknown>>, login: VaultLogin): void {
  const { method, mount, role } = login;
  if (
    method === 'cert' ||
    (method === 'approle' ? 'role_name' in metadata : metadata.role === role)
  )
    return;
  throw new SecretError(
    'CREDENTIALS_REFUSED',
    `${productName(login)} logged in ${describeIdentity({ login })} as another identity: the mount is not of the method ${method}`,
    {
      hint: `name the mount of the method ${method} in place of auth/${sanitizeUserText(mount)}`,
    },
  );
}

function mountPath({ mount }: VaultLogin): string {
  return mount.split('/').map(encodeSegment).join('/');
}

/** Marks an outage of the login as such, because reads may succeed. */
function toLoginError(error: SecretError, login: VaultLogin): SecretError {
  const { kind, message, hint } = error;
  if (kind !== 'outage') return error;
  return new SecretError(
    'CREDENTIALS_UNAVAILABLE',
    `no token for ${describeIdentity({ login })}: ${message}`,
    {
      ...(hint !== undefined && { hint }),
    },
  );
}
