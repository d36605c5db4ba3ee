import { randomBytes, randomUUID } from 'node:crypto';
import { readSigV4, sigV4Authorization } from './aws-sigv4.ts';
import type { FakeAnswer, FakeRequest } from './http-server.ts';

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
export type RegionTrouble = 'down' | 'hang' | 'throttled' | 'not enabled';

/** All keys of a fake cloud, and the front of its JSON 1.1 services. */
export type AwsAccount = {
  readonly id: string;
  issueKeys(options?: { readonly holder?: string; readonly lifeMs?: number }): AwsKeys;
  revoke(accessKeyId: string): void;
  /** By region. */
  readonly troubles: Map<string, RegionTrouble>;
  /** Serves a signed JSON 1.1 call of one service. */
  serve(
    request: FakeRequest,
    service: { readonly signingName: string; readonly target: string },
    answer: (call: AwsCall) => FakeAnswer | Promise<FakeAnswer>,
  ): FakeAnswer | Promise<FakeAnswer>;
};

/** An answer of a JSON 1.1 service. */
export function awsJson(status: number, body: object): FakeAnswer {
  return {
    status,
    headers: { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-requestid': `req-${randomUUID()}` },
    body,
  };
}

/** An error of a JSON 1.1 service. */
export function awsFault(name: string, message: string, status = 400): FakeAnswer {
  return awsJson(status, { __type: name, message });
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
  const troubles = new Map<string, RegionTrouble>();
  const now = (): number => Date.now() + clock.cloud;

  function complain(request: FakeRequest, service: string): FakeAnswer | (AwsKeys & { region: string }) {
    const { headers } = request;
    const claim = readSigV4(request);
    if (claim === undefined)
      return awsFault('MissingAuthenticationTokenException', 'Missing Authentication Token');
    const key = keys.get(claim.accessKeyId);
    const badToken = 'The security token included in the request is invalid.';
    if (key === undefined) return awsFault('UnrecognizedClientException', badToken);
    if (key.sessionToken !== headers['x-amz-security-token'])
      return awsFault(
        'UnrecognizedClientException',
        `${badToken} ${String(headers['x-amz-security-token'])}`,
      );
    if (key.expiresAt <= now())
      return awsFault('ExpiredTokenException', 'The security token included in the request is expired');
    const skew = claim.signedAt + clock.node - now();
    if (!(Math.abs(skew) <= 5 * 60_000))
      return awsFault(
        'InvalidSignatureException',
        skew < 0
          ? 'Signature expired: 1 is now earlier than 2 (7 - 5 min.)'
          : 'Signature not yet current: 2 is still later than 1 (7 + 5 min.)',
      );
    const mustBeSigned = Object.keys(headers).filter((name) => /^(x-amz-.*|host|content-type)$/.test(name));
    const fits =
      claim.service === service &&
      mustBeSigned.every((name) => claim.signedHeaders.includes(name)) &&
      headers.authorization === sigV4Authorization(request, claim, key.secretAccessKey);
    if (!fits)
      return awsFault(
        'InvalidSignatureException',
        // As the real one: with all that was signed.
        `The request signature we calculated does not match the signature you provided. ${JSON.stringify(headers)}`,
      );
    return { ...key, region: claim.region };
  }

  return {
    id,
    troubles,
    issueKeys({ holder = 'user', lifeMs } = {}) {
      const issued: AwsKeys = {
        accessKeyId: `${lifeMs === undefined ? 'AKIA' : 'ASIA'}${randomBytes(8).toString('hex').toUpperCase()}`,
        secretAccessKey: `secret-${randomBytes(15).toString('hex')}`,
        ...(lifeMs !== undefined && { sessionToken: `token-${randomBytes(200).toString('base64')}` }),
        expiresAt: lifeMs === undefined ? Infinity : now() + lifeMs,
        holder,
      };
      keys.set(issued.accessKeyId, issued);
      return issued;
    },
    revoke: (accessKeyId) => void keys.delete(accessKeyId),
    async serve(request, { signingName, target }, answer) {
      const dated = (given: FakeAnswer): FakeAnswer => ({
        ...given,
        // As far from this machine's clock, by which callers sign, as the cloud's is from the node's.
        headers: { date: new Date(now() - clock.node).toUTCString(), ...given.headers },
      });
      const [service, action = ''] = String(request.headers['x-amz-target']).split('.');
      const isJson = request.headers['content-type'] === 'application/x-amz-json-1.1';
      if (request.method !== 'POST' || request.path !== '/' || service !== target || !isJson)
        return dated(awsFault('UnknownOperationException', 'there is no such operation'));
      const who = complain(request, signingName);
      if (!('holder' in who)) return dated(who);
      switch (troubles.get(who.region)) {
        case 'down':
          return { status: 503, body: '<html>Service Unavailable</html>' };
        case 'hang':
          return new Promise<FakeAnswer>(() => undefined);
        case 'throttled':
          return dated(awsFault('ThrottlingException', 'Rate exceeded'));
        case 'not enabled':
          return dated(awsFault('UnrecognizedClientException', 'The security token included is invalid.'));
        case undefined: {
          const input = JSON.parse(request.body.toString()) as AwsCall['input'];
          return dated(await answer({ action, region: who.region, input, holder: who.holder }));
        }
      }
    },
  };
}
