import { SecretError } from '../../core/errors.ts';
import type { Redacted } from '../../core/redacted.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { HttpResponse } from '../../http/client.ts';
import type { VaultLogin } from './types.ts';

/** An answer that is no success, as far as it could be read. */
export type VaultErrorResponse = {
  readonly status: number;
  /** Errors and warnings, each on one line. Never to be shown as they are: see {@link describeErrorResponse}. */
  readonly errors: readonly string[];
  /** JSON as Vault writes it. The page of a proxy is not, whatever its status. */
  readonly isFromVault: boolean;
};

/** What was asked, for messages. */
export type CallContext = {
  readonly login: VaultLogin;
  readonly method: string;
  /** Below `v1/`, as sent. */
  readonly path: string;
  /** Instead of the login's. */
  readonly namespace?: string;
  /** Must not be in any message. */
  readonly token?: Redacted;
};

/** Reads `{"errors": [...]}`, or the warnings of an answer that has data. */
export function parseErrorResponse({
  status,
  body,
}: Pick<HttpResponse, 'status' | 'body'>): VaultErrorResponse {
  const fields = parse(body);
  const texts = [fields?.errors, fields?.warnings].flatMap((list) =>
    Array.isArray(list) ? (list as unknown[]) : [],
  );
  return {
    status,
    errors: texts.filter((text) => typeof text === 'string').map(joinLines),
    isFromVault: fields !== undefined && ('errors' in fields || 'data' in fields),
  };
}

/** `(HTTP 403: "permission denied")`. */
export function describeErrorResponse(
  { status, errors }: VaultErrorResponse,
  secrets: readonly string[],
): string {
  const text = sanitizeExternalText(errors.join('; '), secrets);
  return text === '' ? `(HTTP ${status})` : `(HTTP ${status}: "${text}")`;
}

/** Not even a place where something could be missing: an OpenBao's word, on a login or a read. */
export function isUnknownNamespace({ status, errors }: VaultErrorResponse): boolean {
  return status === 404 && errors.includes('namespace not found');
}

/** The product, as the class calls it. */
export function productName({ dialect }: Pick<VaultLogin, 'dialect'>): string {
  return dialect === 'openbao' ? 'OpenBao' : 'Vault';
}

/** Whose rights: `role app (auth/kubernetes, namespace team-a)`. */
export function describeIdentity({
  login,
  namespace = login.namespace ?? '',
}: Pick<CallContext, 'login' | 'namespace'>): string {
  const { method, mount, role } = login;
  const qualifiers = [
    ...(method === 'token' ? [] : [`auth/${sanitizeExternalText(mount)}`]),
    ...(namespace === '' ? [] : [`namespace ${sanitizeExternalText(namespace)}`]),
  ];
  const subject =
    method === 'token'
      ? 'the given token'
      : role === undefined
        ? `the ${method} login`
        : `role ${sanitizeExternalText(role)}`;
  return qualifiers.length === 0 ? subject : `${subject} (${qualifiers.join(', ')})`;
}

/** As a policy would name it: decoded, and without a query, which may hold anything. */
export function describePath({ path }: Pick<CallContext, 'path'>): string {
  const [plain = ''] = path.split('?');
  try {
    return sanitizeExternalText(decodeURIComponent(plain));
  } catch {
    return sanitizeExternalText(plain);
  }
}

/** Vault lays lists out over several lines. Line by line, since one pattern for all would take hours for a megabyte of blanks. */
function joinLines(text: string): string {
  const lines = text.split('\n').map((line) => line.trim().replace(/^\* /, ''));
  return lines.filter((line) => line !== '').join(' ');
}

function parse(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** What an answer means that is neither a success nor trouble which passes by itself. */
export function classifyErrorResponse(
  errorResponse: VaultErrorResponse,
  call: CallContext,
): SecretError {
  const { login, method } = call;
  const product = productName(login);
  const details = describeErrorResponse(errorResponse, secretsOf(call));
  const operation = `${method} ${describePath(call)}`;
  if (!errorResponse.isFromVault)
    return new SecretError(
      'STORE_ANSWER_INVALID',
      `${operation} was not answered as ${product} does (HTTP ${errorResponse.status})`,
      { hint: `check that the address is that of ${product}, and no proxy answers in its place` },
    );
  if (isBadToken(errorResponse))
    return new SecretError(
      'CREDENTIALS_REFUSED',
      `${product} did not take the token at ${operation} for ${describeIdentity(call)} ${details}`,
      { hint: tokenHint(login) },
    );
  if (errorResponse.status === 403)
    return new SecretError(
      'ACCESS_DENIED',
      `${product} denies ${operation} to ${describeIdentity(call)} ${details}`,
      {
        hint: `a policy of it must allow ${capabilities[method] ?? 'sudo'} on ${describePath(call)}`,
      },
    );
  return new SecretError(
    'STORE_REFUSED_REQUEST',
    `${product} refused ${operation} for ${describeIdentity(call)} ${details}`,
    {
      hint: isUnknownNamespace(errorResponse)
        ? 'check vaultNamespace'
        : 'check path, method and arguments',
    },
  );
}

/** An answer that may be another one in a moment: a quota, a node that has not caught up, trouble inside of Vault or before it. */
export function transientError(
  errorResponse: VaultErrorResponse,
  call: CallContext,
  address: string,
): SecretError {
  const product = productName(call.login);
  const operation = `${call.method} ${describePath(call)} for ${describeIdentity(call)} ${describeErrorResponse(errorResponse, secretsOf(call))}`;
  // What is turned away like this has not been looked at.
  if (errorResponse.status === 429)
    return new SecretError(
      'STORE_THROTTLED',
      `${product} at ${address} has no quota left for ${operation}`,
      {
        hint: 'refresh less often, or raise the rate limit quota',
        unsent: true,
      },
    );
  if (errorResponse.status === 412)
    return new SecretError(
      'STORE_UNAVAILABLE',
      `${address} has not caught up with the cluster at ${operation}`,
      {
        hint: 'a node that stays behind has trouble with replication: its log says more',
        unsent: true,
      },
    );
  return new SecretError('STORE_UNAVAILABLE', `${product} at ${address} failed at ${operation}`, {
    hint: errorResponse.isFromVault
      ? `what stands behind this path, such as a database, may be down or out of reach of ${product}, whose log says more`
      : `something before ${product} answered in its place`,
  });
}

/**
 * The token itself is not taken: ended, revoked, or never one. A denial by policy has other words, `1 error occurred: ...`; Vault 1.15 and later
 * add `invalid token` to those of a bad one (hashicorp/vault#26687).
 */
function isBadToken({ status, errors }: VaultErrorResponse): boolean {
  if (status === 403)
    return errors.some((text) => text === 'permission denied' || /\binvalid token\b/.test(text));
  return status === 400 && errors.includes('missing client token');
}

function tokenHint({ method }: VaultLogin): string {
  return method === 'token'
    ? 'it has expired, was revoked, or has reached its max TTL: put another one in its place'
    : 'it has expired, was revoked, or has reached its max TTL; Keyferry logs in again, at most once a minute';
}

const capabilities: Readonly<Record<string, string>> = {
  GET: '"read"',
  LIST: '"list"',
  POST: '"update" (or "create")',
  PUT: '"update" (or "create")',
  PATCH: '"patch"',
  DELETE: '"delete"',
};

function secretsOf({ token }: CallContext): readonly string[] {
  return token === undefined ? [] : [token.reveal()];
}
