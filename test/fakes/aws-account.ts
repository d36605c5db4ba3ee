import { randomBytes, randomUUID } from 'node:crypto';
import { parseSigV4, sigV4Authorization } from './aws-sigv4.ts';
import type { FakeResponse, FakeRequest } from './http-server.ts';

/** Keys as AWS hands them out. */
export type AwsKeys = {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Those of a session have one. */
  readonly sessionToken?: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** Who they belong to: `user`, or the ARN of the role of their session. */
  readonly holder: string;
};

/** What a service is asked. */
export type AwsCall = {
  /** `GetSecretValue` */
  readonly action: string;
  readonly region: string;
  readonly input: Readonly<Record<string, unknown>>;
  /** Whose keys have signed. */
  readonly holder: string;
};

/** What a region does, from now on: answers 503, answers nothing, throttles, knows nobody's keys as the account has not enabled it. */
export type RegionFault = 'down' | 'hang' | 'throttled' | 'not enabled';

/** All keys of a fake cloud, and the front of its JSON 1.1 services. */
export type AwsAccount = {
  readonly id: string;
  issueKeys(options?: { readonly holder?: string; readonly lifeMs?: number }): AwsKeys;
  revoke(accessKeyId: string): void;
  /** By region. */
  readonly regionFaults: Map<string, RegionFault>;
  /** Serves a signed JSON 1.1 call of one service. */
  serve(
    request: FakeRequest,
    service: { readonly signingName: string; readonly target: string },
    handleCall: (call: AwsCall) => FakeResponse | Promise<FakeResponse>,
  ): FakeResponse | Promise<FakeResponse>;
};

/** An answer of a JSON 1.1 service. */
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

/** `clock`: how fast the cloud's clock and the node's are, in milliseconds; callers sign by this machine's. */
export function createAwsAccount({
  clock,
  id = '111122223333',
}: {
  readonly clock: { readonly node: number; readonly cloud: number };
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
    const skew = parsedSignature.signedAt + clock.node - now();
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
        // As the real one: with all that was signed.
        `The request signature we calculated does not match the signature you provided. ${JSON.stringify(headers)}`,
      );
    return { ...key, region: parsedSignature.region };
  }

  return {
    id,
    regionFaults,
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
        // As far from this machine's clock, by which callers sign, as the cloud's is from the node's.
        headers: { date: new Date(now() - clock.node).toUTCString(), ...response.headers },
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
