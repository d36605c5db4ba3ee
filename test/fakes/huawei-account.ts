import { randomBytes } from 'node:crypto';
import { huaweiSigner } from './huawei-signer.ts';
import type { FakeResponse, FakeRequest } from './http-server.ts';

/** Keys of Huawei Cloud. */
export type HuaweiKeys = {
  readonly access: string;
  readonly secret: string;
  /** Only temporary keys have one. */
  readonly securitytoken?: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
};

/** The keys of a fake account, and the gateway that verifies signatures. */
export type HuaweiAccount = {
  readonly projects: { id: string; name: string }[];
  issueKeys(lifeMs?: number): HuaweiKeys;
  revoke(access: string): void;
  /** The gateway's error for a request without a valid signature. Undefined if it is valid. */
  authErrorResponse(request: FakeRequest): FakeResponse | undefined;
};

/** Makes an account. The sixth bad signature in a row locks a key. `now` is the account's clock. */
export function createHuaweiAccount({ now = Date.now } = {}): HuaweiAccount {
  const keys = new Map<string, HuaweiKeys>();
  const failures = new Map<string, number>();

  const errorResponse = (request: FakeRequest, message: string): FakeResponse => ({
    status: 401,
    headers: { 'x-request-id': 'gateway-1', date: new Date(now()).toUTCString() },
    // The real gateway also repeats the signed request.
    body: {
      error_code: 'APIGW.0301',
      error_msg: `Incorrect IAM authentication information: ${message}, canonicalRequest: ${request.method}|${request.path}|${JSON.stringify(request.headers)}`,
      request_id: 'gateway-1',
    },
  });

  return {
    projects: [],
    issueKeys(lifeMs) {
      const issued: HuaweiKeys = {
        access: `AK${randomBytes(9).toString('hex').toUpperCase()}`,
        secret: `sk-${randomBytes(20).toString('hex')}`,
        ...(lifeMs !== undefined && {
          securitytoken: `st-${randomBytes(40).toString('base64url')}`,
        }),
        expiresAt: lifeMs === undefined ? Infinity : now() + lifeMs,
      };
      keys.set(issued.access, issued);
      return issued;
    },
    revoke: (access) => void keys.delete(access),
    authErrorResponse(request) {
      const access =
        /^SDK-HMAC-SHA256 Access=([^,]+),/.exec(request.headers.authorization ?? '')?.[1] ?? '';
      if ((failures.get(access) ?? 0) > 5)
        return errorResponse(request, 'AK access failed to reach the limit,forbidden');
      const signatureError = validateSignature(request, keys.get(access), now());
      failures.set(access, signatureError === undefined ? 0 : (failures.get(access) ?? 0) + 1);
      return signatureError === undefined ? undefined : errorResponse(request, signatureError);
    },
  };
}

function validateSignature(
  request: FakeRequest,
  key: HuaweiKeys | undefined,
  now: number,
): string | undefined {
  const { headers } = request;
  const [, list = '', signature = ''] =
    /SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$/.exec(headers.authorization ?? '') ??
    [];
  if (key === undefined) return 'AK does not exist';
  if (key.expiresAt <= now) return 'security token expired';
  if (key.securitytoken !== headers['x-security-token']) return 'security token does not match';
  const names = list.split(';');
  const mustBeSigned = ['x-sdk-date', 'x-project-id', 'x-security-token'].filter(
    (name) => name in headers,
  );
  if (!mustBeSigned.every((name) => names.includes(name))) return 'a header is not signed';
  const date = String(headers['x-sdk-date']);
  const sentAt = Date.parse(date.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'));
  if (!(Math.abs(now - sentAt) <= 15 * 60_000)) return 'signature expired';
  const queryParams: Record<string, string[]> = {};
  for (const [name, value] of new URLSearchParams(request.query))
    (queryParams[name] ??= []).push(value);
  const canonical = huaweiSigner.buildCanonicalRequest(
    request.method,
    huaweiSigner.CanonicalURI(request.path.split('/').map(decodeURIComponent).join('/')),
    huaweiSigner.CanonicalQueryString({ queryParams }),
    huaweiSigner.buildCanonicalHeaders(
      Object.fromEntries(names.map((name) => [name, String(headers[name] ?? '')])),
    ),
    list,
    huaweiSigner.Hex(request.body),
  );
  const text = huaweiSigner.getStringToSign('SDK-HMAC-SHA256', date, huaweiSigner.Hex(canonical));
  return huaweiSigner.hmacSHA256(key.secret, text) === signature
    ? undefined
    : 'verify aksk signature fail';
}
