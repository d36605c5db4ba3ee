import { createHash, createHmac } from 'node:crypto';
import type { FakeRequest } from './http-server.ts';

/** The fields of a signature. */
export type SigV4Signature = {
  readonly accessKeyId: string;
  readonly region: string;
  readonly service: string;
  /** Milliseconds since the epoch. NaN for an invalid date. */
  readonly signedAt: number;
  readonly signedHeaders: readonly string[];
};

/** Parses `Authorization` and `X-Amz-Date`. Undefined without a signature of this version. */
export function parseSigV4({ headers }: FakeRequest): SigV4Signature | undefined {
  const [, accessKeyId = '', day = '', region = '', service = '', list = ''] =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=[0-9a-f]{64}$/.exec(
      headers.authorization ?? '',
    ) ?? [];
  const date = String(headers['x-amz-date']);
  if (accessKeyId === '' || !date.startsWith(day)) return undefined;
  const iso = date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z');
  return {
    accessKeyId,
    region,
    service,
    signedAt: Date.parse(iso),
    signedHeaders: list.split(';'),
  };
}

/**
 * The `Authorization` header that Signature Version 4 gives for a request. It supports only the
 * path of JSON services, `/`.
 */
export function sigV4Authorization(
  request: Pick<FakeRequest, 'method' | 'path' | 'query' | 'headers' | 'body'>,
  parsedSignature: Omit<SigV4Signature, 'signedAt'>,
  secretAccessKey: string,
): string {
  const { accessKeyId, region, service, signedHeaders } = parsedSignature;
  const date = String(request.headers['x-amz-date']);
  const scope = `${date.slice(0, 8)}/${region}/${service}/aws4_request`;
  const canonical = [
    request.method,
    request.path,
    request.query.split('&').sort().join('&'),
    ...signedHeaders.map(
      (name) => `${name}:${String(request.headers[name]).trim().replace(/\s+/g, ' ')}`,
    ),
    '',
    signedHeaders.join(';'),
    sha256(request.body),
  ].join('\n');
  const key = scope
    .split('/')
    .reduce<string | Buffer>(
      (parent, part) => hmac(parent, part).digest(),
      `AWS4${secretAccessKey}`,
    );
  const signature = hmac(
    key,
    ['AWS4-HMAC-SHA256', date, scope, sha256(canonical)].join('\n'),
  ).digest('hex');
  const names = signedHeaders.join(';');
  return `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
}

function hmac(key: string | Buffer, text: string) {
  return createHmac('sha256', key).update(text);
}

function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
