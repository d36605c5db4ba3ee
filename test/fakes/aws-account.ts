import { randomBytes, randomUUID } from 'node:crypto';
import { parseSigV4, sigV4Authorization } from './aws-sigv4.ts';
import type { FakeResponse, FakeRequest } from './http-server.ts';

/** Keys that AWS issues. */
export type AwsKeys = {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Only for the keys of a session. */
  readonly sessionToken?: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** The owner: `user`, or the ARN of the role of their session. */
  readonly holder: string;
};

/** A signed call of a service. */
export type AwsCall = {
  /** `GetSecretValue` */
  readonly action: string;
  readonly region: string;
  readonly input: Readonly<Record<string, unknown>>;
  /** The owner of the keys that signed the call. */
  readonly holder: string;
};

/**
 * What a region does from now on: respond with 503, never respond, throttle, or reject all keys
 * because the account has not enabled it.
 */
export type RegionFault = 'down' | 'hang' | 'throttled' | 'not enabled';

/** The keys of a fake cloud, and the authentication of its JSON 1.1 services. */
export type AwsAccount = {
  readonly id: string;
  issueKeys(options?: { readonly holder?: string; readonly lifeMs?: number }): AwsKeys;
  revoke(accessKeyId: string): void;
  /** By region. */
  readonly regionFaults: Map<string, RegionFault>;
  /** The keys that signed a request and the region of its signature, or an error response. */
  authenticate(
    request: FakeRequest,
    service: string,
  ): FakeResponse | (AwsKeys & { region: string });
  /** Authenticates and serves a JSON 1.1 call of one service. */
  serve(
    request: FakeRequest,
    service: { readonly signingName: string; readonly target: string },
    handleCall: (call: AwsCall) => FakeResponse | Promise<FakeResponse>,
  ): FakeResponse | Promise<FakeResponse>;
};

/** A response of a JSON 1.1 service. */
export function awsJsonResponse(status: number, body: object): FakeResponse {
  return {
    status,
    headers: {
      'content-type': 'application/x-amz-json-1.1',
      'x-amzn-requestid': `req-${randomUUID()}`,
    },
    body,
  };
}

/** An error of a JSON 1.1 service. */
export function awsErrorResponse(name: string, message: string, status = 400): FakeResponse {
  return awsJsonResponse(status, { __type: name, message });
}

/**
 * Creates an account.
 * @param options.clock how far the clock of the cloud is ahead of this machine's clock, in
 *   milliseconds
 */
export function createAwsAccount({
  clock,
  id = '111122223333',
}: {
  readonly clock: { readonly cloud: number };
  readonly id?: string;
}): AwsAccount {
  const keys = new Map<string, AwsKeys>();
  const regionFaults = new Map<string, RegionFault>();
  const now = (): number => Date.now() + clock.cloud;

  function authenticate(
    request: FakeRequest,
    service: string,
  ): FakeResponse | (AwsKeys & { region: string }) {
    const { headers } = request;
    const parsedSignature = parseSigV4(request);
    if (parsedSignature === undefined)
      return awsErrorResponse(
        'MissingAuthenticationTokenException',
        'Missing Authentication Token',
      );
    const key = keys.get(parsedSignature.accessKeyId);
    const badToken = 'The security token included in the request is invalid.';
    if (key === undefined) return awsErrorResponse('UnrecognizedClientException', badToken);
    if (key.sessionToken !== headers['x-amz-security-token'])
      return awsErrorResponse(
        'UnrecognizedClientException',
        `${badToken} ${String(headers['x-amz-security-token'])}`,
      );
    if (key.expiresAt <= now())
      return awsErrorResponse(
        'ExpiredTokenException',
        'The security token included in the request is expired',
      );
    const skew = parsedSignature.signedAt - now();
    if (!(Math.abs(skew) <= 5 * 60_000))
      return awsErrorResponse(
        'InvalidSignatureException',
        skew < 0
          ? 'Signature expired: 1 is now earlier than 2 (7 - 5 min.)'
          : 'Signature not yet current: 2 is still later than 1 (7 + 5 min.)',
      );
    const mustBeSigned = Object.keys(headers).filter((name) =>
      /^(x-amz-.*|host|content-type)$/.test(name),
    );
    const isSignatureValid =
      parsedSignature.service === service &&
      mustBeSigned.every((name) => parsedSignature.signedHeaders.includes(name)) &&
      headers.authorization === sigV4Authorization(request, parsedSignature, key.secretAccessKey);
    if (!isSignatureValid)
      return awsErrorResponse(
        'InvalidSignatureException',
        // The real text contains everything that was signed, too.
        `The request signature we calculated does not match the signature you provided. ${JSON.stringify(headers)}`,
      );
    return { ...key, region: parsedSignature.region };
  }

  return {
    id,
    regionFaults,
    authenticate,
    issueKeys({ holder = 'user', lifeMs } = {}) {
      const issued: AwsKeys = {
        accessKeyId: `${lifeMs === undefined ? 'AKIA' : 'ASIA'}${randomBytes(8).toString('hex').toUpperCase()}`,
        secretAccessKey: `secret-${randomBytes(15).toString('hex')}`,
        ...(lifeMs !== undefined && {
          sessionToken: `token-${randomBytes(200).toString('base64')}`,
        }),
        expiresAt: lifeMs === undefined ? Infinity : now() + lifeMs,
        holder,
      };
      keys.set(issued.accessKeyId, issued);
      return issued;
    },
    revoke: (accessKeyId) => void keys.delete(accessKeyId),
    async serve(request, { signingName, target }, handleCall) {
      const withDate = (response: FakeResponse): FakeResponse => ({
        ...response,
        headers: { date: new Date(now()).toUTCString(), ...response.headers },
      });
      const [service, action = ''] = String(request.headers['x-amz-target']).split('.');
      const isJson = request.headers['content-type'] === 'application/x-amz-json-1.1';
      if (request.method !== 'POST' || request.path !== '/' || service !== target || !isJson)
        return withDate(
          awsErrorResponse('UnknownOperationException', 'there is no such operation'),
        );
      const keysOrError = authenticate(request, signingName);
      if (!('holder' in keysOrError)) return withDate(keysOrError);
      switch (regionFaults.get(keysOrError.region)) {
        case 'down':
          return { status: 503, body: '<html>Service Unavailable</html>' };
        case 'hang':
          return new Promise<FakeResponse>(() => undefined);
        case 'throttled':
          return withDate(awsErrorResponse('ThrottlingException', 'Rate exceeded'));
        case 'not enabled':
          return withDate(
            awsErrorResponse(
              'UnrecognizedClientException',
              'The security token included is invalid.',
            ),
          );
        case undefined: {
          const input = JSON.parse(request.body.toString()) as AwsCall['input'];
          return withDate(
            await handleCall({
              action,
              region: keysOrError.region,
              input,
              holder: keysOrError.holder,
            }),
          );
        }
      }
    },
  };
}
