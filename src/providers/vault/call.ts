import { randomUUID } from 'node:crypto';
import type { Redacted } from '../../errors/redacted.ts';
import { SecretError } from '../../errors/secret-error.ts';
import { quoteForeign } from '../../errors/status-text.ts';
import type { VaultLogin } from './login.ts';

/** One question to Vault. */
export type VaultCall = {
  readonly login: VaultLogin;
  readonly token?: Redacted;
  /** `LIST` goes as a GET with `list=true`. */
  readonly method: string;
  /** Below `v1/`, percent-encoded already, with its query: `secret/data/app?version=3`. */
  readonly path: string;
  /** JSON. */
  readonly body?: string;
  readonly signal: AbortSignal;
  /** It may issue something (a token, a lease, a certificate): never sent again unless it is sure that nobody has seen it. */
  readonly issues: boolean;
  /** Instead of the login's; the empty text: none. */
  readonly namespace?: string;
  /** Statuses below 500 that are returned too, for the caller to judge: `[400]`. */
  readonly accept?: readonly number[];
};

/** Method and path as they go over the wire: proxies let no method LIST through. */
export function asSent({ method, path }: VaultCall): { readonly method: string; readonly path: string } {
  if (method !== 'LIST') return { method, path };
  return { method: 'GET', path: `${path}${path.includes('?') ? '&' : '?'}list=true` };
}

/** An Agent that is told to refuses whoever does not send it: so no web page can be made to ask it. */
export const fixedHeaders = { 'x-vault-request': 'true' };

/** @throws SecretError for what no header can hold */
export function headersOf({
  login,
  token,
  body,
  issues,
  namespace = login.namespace ?? '',
}: VaultCall): Record<string, string> {
  if (!isHeader(namespace))
    throw new SecretError('INVALID_CLASS', `"${quoteForeign(namespace)}" is no namespace`);
  const secret = token?.reveal() ?? '';
  if (!isHeader(secret))
    throw new SecretError('NOT_CONFIGURED', 'the token has characters in it that no token of Vault has', {
      hint: 'look for a line break or a space in what it comes from',
    });
  return {
    ...fixedHeaders,
    ...(secret !== '' && { 'x-vault-token': secret }),
    ...(namespace !== '' && { 'x-vault-namespace': namespace }),
    ...(body !== undefined && { 'content-type': 'application/json' }),
    // An Agent or a Proxy that caches gives the same lease, or token, to whoever asks the same with the same headers; each of ours is asked for anew.
    ...(issues && { 'x-request-id': randomUUID() }),
  };
}

function isHeader(text: string): boolean {
  return /^[\x21-\x7e]*$/.test(text);
}
