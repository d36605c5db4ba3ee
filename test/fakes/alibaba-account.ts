import { randomBytes } from 'node:crypto';
import { alibabaAuthorization, alibabaBodyDigest } from './alibaba-signer.ts';
import type { FakeResponse, FakeRequest } from './http-server.ts';

/** Keys that Alibaba Cloud issued. */
export type AlibabaKeys = {
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
  /** Only the keys of a session have one. */
  readonly securityToken?: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** The owner: `user`, or the ARN of the session's role. */
  readonly holder: string;
};

/** A call of an operation. */
export type AlibabaCall = {
  readonly action: string;
  readonly version: string;
  readonly parameters: URLSearchParams;
  /** The owner of the keys that signed the call. Absent if it is not signed. */
  readonly holder?: string;
};

/** The keys of a fake cloud, and the gateway in front of its services. */
export type AlibabaAccount = {
  issueKeys(options?: { readonly holder?: string; readonly lifeMs?: number }): AlibabaKeys;
  revoke(accessKeyId: string): void;
  /** Serves an RPC operation. Calls of `unsignedActions` must not be signed, all others must. */
  serve(
    request: FakeRequest,
    handleCall: (call: AlibabaCall) => FakeResponse,
    unsignedActions?: readonly string[],
  ): FakeResponse;
};

/** The error response of a service to a request for JSON. */
export function alibabaErrorResponse(status: number, Code: string, Message: string): FakeResponse {
  const RequestId = `req-${randomBytes(4).toString('hex')}`;
  return { status, body: { RequestId, HostId: 'aliyuncs.com', Code, Message, HttpStatus: status } };
}

/** `2026-11-22T03:00:00Z` */
export function alibabaTime(at: number): string {
  return new Date(at).toISOString().replace(/\.\d{3}/, '');
}

/**
 * Verifies signatures by the vendor's own code.
 * @param options.now the cloud's clock
 */
export function createAlibabaAccount({ now = Date.now } = {}): AlibabaAccount {
  const keys = new Map<string, AlibabaKeys>();
  const nonces = new Set<string>();

  function authenticate(request: FakeRequest): FakeResponse | AlibabaKeys {
    const { headers, query, body } = request;
    const [, id = '', list = ''] =
      /^ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([a-z0-9;-]+),Signature=[0-9a-f]{64}$/.exec(
        headers.authorization ?? '',
      ) ?? [];
    const errorResponse = (status: number, code: string, message: string): FakeResponse => ({
      ...alibabaErrorResponse(status, code, message),
      headers: { date: new Date(now()).toUTCString() },
    });
    const key = keys.get(id);
    // The response to an expired session is that to an unknown key.
    if (key === undefined || key.expiresAt <= now())
      return errorResponse(
        404,
        'InvalidAccessKeyId.NotFound',
        `Specified access key is not found: ${id}`,
      );
    if (key.securityToken !== headers['x-acs-security-token'])
      return errorResponse(
        400,
        'InvalidSecurityToken.MismatchWithAccessKey',
        'Specified SecurityToken is bad',
      );
    const names = list.split(';');
    const mustBeSigned = Object.keys(headers).filter((name) =>
      /^(x-acs-.*|host|content-type)$/.test(name),
    );
    if (!mustBeSigned.every((name) => names.includes(name)) || names.length !== mustBeSigned.length)
      return errorResponse(400, 'IncompleteSignature', 'a header is not signed');
    const sentAt = Date.parse(String(headers['x-acs-date']));
    if (!(Math.abs(now() - sentAt) <= 15 * 60_000))
      return errorResponse(
        400,
        'InvalidTimeStamp.Expired',
        'Specified time stamp or date value is expired.',
      );
    const nonce = String(headers['x-acs-signature-nonce']);
    if (nonces.has(nonce))
      return errorResponse(
        400,
        'SignatureNonceUsed',
        'Specified signature nonce was used already.',
      );
    nonces.add(nonce);
    const digest = alibabaBodyDigest(body);
    const authorization = alibabaAuthorization(
      {
        method: request.method,
        pathname: request.path,
        query: Object.fromEntries(new URLSearchParams(query)),
        headers: Object.fromEntries(names.map((name) => [name, String(headers[name])])),
      },
      digest,
      key,
    );
    if (headers['x-acs-content-sha256'] !== digest || headers.authorization !== authorization)
      // Like the real service, with everything that was signed.
      return errorResponse(
        400,
        'SignatureDoesNotMatch',
        `server string to sign is: ${JSON.stringify(headers)}?${query}`,
      );
    return key;
  }

  return {
    issueKeys({ holder = 'user', lifeMs } = {}) {
      const issued: AlibabaKeys = {
        accessKeyId: `${lifeMs === undefined ? 'LTAI' : 'STS.'}${randomBytes(10).toString('hex')}`,
        accessKeySecret: `secret-${randomBytes(15).toString('hex')}`,
        ...(lifeMs !== undefined && {
          securityToken: `token-${randomBytes(60).toString('base64')}`,
        }),
        expiresAt: lifeMs === undefined ? Infinity : now() + lifeMs,
        holder,
      };
      keys.set(issued.accessKeyId, issued);
      return issued;
    },
    revoke: (accessKeyId) => void keys.delete(accessKeyId),
    serve(request, handleCall, unsignedActions = []) {
      const { headers } = request;
      const action = String(headers['x-acs-action']);
      const version = String(headers['x-acs-version']);
      if (request.method !== 'POST' || request.path !== '/')
        return alibabaErrorResponse(404, 'InvalidAction.NotFound', 'Specified api is not found.');
      const query = new URLSearchParams(request.query);
      if (query.get('Format') !== 'JSON')
        return { status: 400, body: '<Error><Code>ItIsXml</Code></Error>' };
      query.delete('Format');
      const isForm = headers['content-type'] === 'application/x-www-form-urlencoded';
      const form = isForm ? [...new URLSearchParams(request.body.toString())] : [];
      const call = { action, version, parameters: new URLSearchParams([...query, ...form]) };
      if (unsignedActions.includes(action))
        return headers.authorization === undefined && [...query].length === 0
          ? handleCall(call)
          : alibabaErrorResponse(
              400,
              'InvalidParameter',
              'must be neither signed nor in the address',
            );
      const keysOrError = authenticate(request);
      return 'holder' in keysOrError
        ? handleCall({ ...call, holder: keysOrError.holder })
        : keysOrError;
    },
  };
}
