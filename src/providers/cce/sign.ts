import { createHmac, hash } from 'node:crypto';
import type { Redacted } from '../../core/redacted.ts';
import { compare, encode, encodeQuery } from '../../http/uri.ts';

const algorithm = 'SDK-HMAC-SHA256';

/** A pair of keys, long-lived or temporary. */
export type SigningKey = {
  readonly accessKey: string;
  readonly secretKey: Redacted;
};

/**
 * The signature covers every header here. `Host` is optional: Huawei's own Go SDK leaves it out.
 */
export type SignableRequest = {
  readonly method: string;
  /** Percent-encoded as in the request. */
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
};

/**
 * Adds `X-Sdk-Date` and `Authorization` to the headers of a request, by Huawei Cloud's
 * SDK-HMAC-SHA256 (API Gateway, "Signing and calling APIs using AK/SK").
 * @param at milliseconds since the epoch; the server rejects a date that is more than 15 minutes
 *   off
 */
export function sign(
  request: SignableRequest,
  key: SigningKey,
  at: number,
): Record<string, string> {
  const date = basicDate(at);
  const headers = { ...request.headers, 'X-Sdk-Date': date };
  const canonicalHeaders = Object.entries(headers)
    .map(([name, value]) => [name.toLowerCase(), value.trim()] as const)
    .sort(([a], [b]) => compare(a, b));
  const signedHeaders = canonicalHeaders.map(([name]) => name).join(';');
  const canonicalRequest = [
    request.method,
    canonicalPath(request.url),
    encodeQuery(request.url.searchParams),
    canonicalHeaders.map(([name, value]) => `${name}:${value}\n`).join(''),
    signedHeaders,
    sha256(request.body ?? ''),
  ].join('\n');
  const signature = createHmac('sha256', key.secretKey.reveal())
    .update([algorithm, date, sha256(canonicalRequest)].join('\n'))
    .digest('hex');
  return {
    ...headers,
    Authorization: `${algorithm} Access=${key.accessKey}, SignedHeaders=${signedHeaders}, Signature=${signature}`,
  };
}

/** `20060102T150405Z` */
function basicDate(at: number): string {
  return new Date(at).toISOString().replace(/[-:]|\.\d{3}/g, '');
}

/** Encodes each segment and adds a slash at the end. */
function canonicalPath({ pathname }: URL): string {
  const path = pathname
    .split('/')
    .map((segment) => encode(decodeURIComponent(segment)))
    .join('/');
  return path.endsWith('/') ? path : `${path}/`;
}

function sha256(text: string): string {
  return hash('sha256', text, 'hex');
}
