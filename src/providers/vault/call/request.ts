import { randomUUID } from 'node:crypto';
import { SecretError } from '../../../core/errors.ts';
import type { Redacted } from '../../../core/redacted.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import type { VaultLogin } from '../types.ts';

/** A call to Vault. */
export type VaultCall = {
  readonly login: VaultLogin;
  readonly token?: Redacted;
  /** Other secrets of the request, such as those in its body. No message may have them. */
  readonly secrets?: readonly string[];
  /** `LIST` is sent as a GET with `list=true`. */
  readonly method: string;
  /** Below `v1/`, percent-encoded already, with its query: `secret/data/app?version=3`. */
  readonly path: string;
  /** JSON. */
  readonly body?: string;
  readonly signal: AbortSignal;
  /** Ends a request that has not been sent. Default: `signal`. */
  readonly waitSignal?: AbortSignal;
  /**
   * The call may issue something: a token, a lease, a certificate. It is repeated only where Vault
   * has certainly not processed it.
   */
  readonly mayIssue: boolean;
  /** It is repeated all the same: what an earlier attempt issued does no harm. */
  readonly isRepeatable?: boolean;
  /** Replaces the login's; the empty text: none. */
  readonly namespace?: string;
  /** Awaited before each attempt: the rate limiter. */
  readonly beforeAttempt?: () => Promise<void>;
  /** Statuses below 500 that the caller gets as a response: `[400]`. */
  readonly accept?: readonly number[];
};

/** The method and the path as sent. Some proxies reject the method LIST, so it becomes a GET. */
export function toWireRequest({ method, path }: VaultCall): {
  readonly method: string;
  readonly path: string;
} {
  if (method !== 'LIST') return { method, path };
  return { method: 'GET', path: `${path}${path.includes('?') ? '&' : '?'}list=true` };
}

/**
 * An Agent with `require_request_header` rejects a request without this header, so that no web page
 * can make a browser send one.
 */
export const fixedHeaders = { 'x-vault-request': 'true' };

/**
 * The headers of a call.
 * @throws SecretError INVALID_CLASS, NOT_CONFIGURED for a value that a header cannot hold
 */
export function headersOf({
  login,
  token,
  body,
  mayIssue,
  namespace = login.namespace ?? '',
}: VaultCall): Record<string, string> {
  if (!isHeader(namespace))
    throw new SecretError('INVALID_CLASS', `"${sanitizeUserText(namespace)}" is not a namespace`);
  const secret = token?.reveal() ?? '';
  if (!isHeader(secret))
    throw new SecretError(
      'NOT_CONFIGURED',
      'the token has characters in it that no token of Vault has',
      { hint: 'look for a line break or a space in what it comes from' },
    );
  return {
    ...fixedHeaders,
    ...(secret !== '' && { 'x-vault-token': secret }),
    ...(namespace !== '' && { 'x-vault-namespace': namespace }),
    ...(body !== undefined && { 'content-type': 'application/json' }),
    // An Agent or a Proxy with a cache sends the same lease or token again for an equal request
    // with equal headers. Each request of Keyferry must issue its own.
    ...(mayIssue && { 'x-request-id': randomUUID() }),
  };
}

function isHeader(text: string): boolean {
  return /^[\x21-\x7e]*$/.test(text);
}

/** Where a request is sent. */
export type Target = {
  readonly url: URL;
  readonly socketPath?: string;
};

/**
 * Builds the target for a path of Vault at one of its addresses.
 * @param address as a login has it: `https://vault:8200`, `unix:///run/agent.sock`
 * @param path below `v1/`, percent-encoded, with its query
 * @throws SecretError INVALID_CLASS for a path that a URL changes, such as `a/../../b`
 */
export function targetOf(address: string, path: string): Target {
  const [, socketPath] = /^unix:\/\/(\/.+)$/.exec(address) ?? [];
  const origin = socketPath === undefined ? address : 'http://localhost';
  const url = new URL(`${origin}/v1/${path}`);
  if (`${url.pathname}${url.search}` !== `/v1/${path}`)
    throw new SecretError(
      'INVALID_CLASS',
      `${sanitizeUserText(path.replace(/\?.*$/s, ''))} is not a Vault path`,
      { hint: 'a path must be percent-encoded, and has no "." or ".." in it' },
    );
  return { url, ...(socketPath !== undefined && { socketPath }) };
}
