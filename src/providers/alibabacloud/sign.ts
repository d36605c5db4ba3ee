import { createHmac, hash } from 'node:crypto';
import type { Redacted } from '../../core/redacted.ts';
import { compare, encodeQuery } from '../../http/uri.ts';

const algorithm = 'ACS3-HMAC-SHA256';

/** Keys that last, or the keys of a session. */
export type SigningKey = {
  readonly accessKeyId: string;
  readonly accessKeySecret: Redacted;
  readonly securityToken?: Redacted;
};

/** The parts of a request that the signature covers: all headers, and the host of the URL, too. */
export type SignableRequest = {
  readonly method: string;
  readonly url: URL;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
};

/**
 * Signs a request by ACS3-HMAC-SHA256 (Alibaba Cloud, "V3 request structure and signature").
 * @param request its headers include `x-acs-date` and `x-acs-signature-nonce`
 * @returns the request's headers, `x-acs-content-sha256`, those of the key, and `authorization`
 */
export function sign(request: SignableRequest, key: SigningKey): Record<string, string> {
  const { method, url, body = '' } = request;
  const digest = sha256(body);
  const headers = {
    ...request.headers,
    'x-acs-content-sha256': digest,
    ...(key.securityToken !== undefined && {
      'x-acs-accesskey-id': key.accessKeyId,
      'x-acs-security-token': key.securityToken.reveal(),
    }),
  };
  const lines = Object.entries({ ...headers, host: url.host })
    .map(([name, value]) => [name.toLowerCase(), value.trim()] as const)
    .sort(([a], [b]) => compare(a, b));
  const signedHeaders = lines.map(([name]) => name).join(';');
  const canonicalRequest = [
    method,
    url.pathname,
    encodeQuery(url.searchParams),
    lines.map(([name, value]) => `${name}:${value}\n`).join(''),
    signedHeaders,
    digest,
  ].join('\n');
  const signature = createHmac('sha256', key.accessKeySecret.reveal())
    .update(`${algorithm}\n${sha256(canonicalRequest)}`)
    .digest('hex');
  return {
    ...headers,
    authorization: `${algorithm} Credential=${key.accessKeyId},SignedHeaders=${signedHeaders},Signature=${signature}`,
  };
}

function sha256(text: string): string {
  return hash('sha256', text, 'hex');
}
