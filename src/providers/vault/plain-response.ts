import { SecretError } from '../../core/errors.ts';
import type { FetchResult } from '../../core/provider.ts';
import type { HttpResponse } from '../../http/client.ts';

/**
 * Paths whose response is not JSON, and the path of the same engine that has it as JSON
 * (https://developer.hashicorp.com/vault/api-docs/secret/pki and .../secret/ssh).
 */
const jsonPaths: readonly (readonly [plain: RegExp, json: string])[] = [
  [/\/cert\/([^/]+)\/raw(\/pem)?$/, '/cert/$1'],
  [/\/issuer\/([^/]+)\/(der|pem)$/, '/issuer/$1/json'],
  [/\/issuer\/([^/]+)\/crl\/(der|pem)$/, '/issuer/$1/crl'],
  [/\/ca_chain$/, '/cert/ca_chain'],
  [/\/ca(\/pem)?$/, '/cert/ca'],
  [/\/crl(\/pem)?$/, '/cert/crl'],
  [/\/public_key$/, '/config/ca'],
];

/** The path of the same engine that has the content of `path` as JSON, where there is one. */
function jsonPathOf(path: string): string | undefined {
  const row = jsonPaths.find(([plain]) => plain.test(path));
  return row === undefined ? undefined : path.replace(...row);
}

/** Whether a body is a page, which no engine of Vault sends: a proxy responded in its place. */
export function isPage({ headers, body }: Pick<HttpResponse, 'headers' | 'body'>): boolean {
  const isHtml = headers['content-type']?.includes('html') === true;
  return isHtml || /^\s*<(!doctype|html|head|body|\?xml)/i.test(body.subarray(0, 200).toString());
}

/**
 * Reads a success that is not JSON, such as `pki/ca_chain` or `ssh/public_key`: the body is the
 * file. Vault forbids that a response is stored (`cache-control: no-store`). Where a response lacks
 * that, something else may have sent it, and its words must not become a secret.
 * @param operation for messages: `GET pki/ca_chain`
 * @param fieldName for messages: what selects a key
 * @returns undefined for a response that is JSON, or not of Vault
 */
export function readPlainResponse(
  response: HttpResponse,
  {
    path,
    operation,
    product,
    fieldName,
  }: {
    readonly path: string;
    readonly operation: string;
    readonly product: string;
    readonly fieldName: string;
  },
): FetchResult | undefined {
  const { status, headers, body } = response;
  const isFromVault = headers['cache-control']?.includes('no-store') === true;
  const isJson = headers['content-type']?.includes('json') === true;
  if (!isFromVault || isPage(response) || status >= 300) return undefined;
  if (body.length === 0) {
    const message = `${product} sent an empty response to ${operation}`;
    const hint = 'configure the engine, or check the path and the method';
    return { kind: 'absent', error: new SecretError('OBJECT_NOT_FOUND', message, { hint }) };
  }
  if (isJson) return undefined;
  const jsonPath = jsonPathOf(path);
  const keysHint =
    jsonPath === undefined ? `remove ${fieldName}` : `remove ${fieldName}, or read ${jsonPath}`;
  return { kind: 'value', value: { bytes: body, keysHint } };
}
