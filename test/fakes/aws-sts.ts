import { randomUUID } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';
import type { AwsAccount } from './aws-account.ts';
import {
  startFakeServer,
  type FakeResponse,
  type FakeRequest,
  type FakeServer,
} from './http-server.ts';
import { mintToken, verifyToken } from './service-account-token.ts';

/** An IAM role with its trust policy. */
export type IamRole = {
  readonly arn: string;
  /** Trusts the tokens of a ServiceAccount: `system:serviceaccount:team-a:app`. */
  readonly subject?: string;
  /** Trusts the holders of keys: `user`, or the ARN of another role. */
  readonly trustedHolders?: readonly string[];
};

/** STS. */
export type FakeAwsSts = FakeServer & {
  /** `ROLE as SESSION for SECONDS`, for each session that it issued. */
  readonly sessions: readonly string[];
};

const audience = 'sts.amazonaws.com';

/** Makes a ServiceAccount token that the fake STS and the fake Pod Identity agent can verify. */
export function mintAwsToken(
  claims: Omit<Parameters<typeof mintToken>[0], 'audience'> & {
    /** Default `sts.amazonaws.com`; for Pod Identity `pods.eks.amazonaws.com`. */
    readonly audience?: string;
  },
): string {
  return mintToken({ audience, ...claims });
}

/**
 * Starts an STS that verifies signatures, tokens (audience, subject, expiry, signature), roles,
 * session names and durations.
 */
export async function startFakeAwsSts(options: {
  readonly account: AwsAccount;
  readonly roles: readonly IamRole[];
  readonly now: () => number;
  /** Whether it accepts a token. Default: tokens of {@link mintToken}. */
  readonly isIssued?: ((token: string) => boolean) | undefined;
  readonly tls: SecureContextOptions;
}): Promise<FakeAwsSts> {
  const { account, roles, now, isIssued, tls } = options;
  const sessions: string[] = [];

  function handler(request: FakeRequest): FakeResponse {
    const { method, path, query, headers, body } = request;
    const form = new URLSearchParams(body.toString());
    const get = (name: string): string => form.get(name) ?? '';
    const action = get('Action');
    const isSigned = headers.authorization !== undefined;
    if (method !== 'POST' || path !== '/' || query !== '' || isSigned !== (action === 'AssumeRole'))
      return errorResponse(
        400,
        'InvalidAction',
        'must be a POST, not in the address, and signed as the operation demands',
      );
    if (!/^AssumeRole(WithWebIdentity)?$/.test(action) || get('Version') !== '2011-06-15')
      return errorResponse(400, 'InvalidAction', 'Could not find operation');
    const [arn, name] = [get('RoleArn'), get('RoleSessionName')];
    const seconds = Number(form.get('DurationSeconds') ?? 3_600);
    if (!/^[\w+=,.@-]{2,64}$/.test(name) || !(seconds >= 900 && seconds <= 43_200))
      return errorResponse(
        400,
        'ValidationError',
        `1 validation error detected: ${name} ${seconds}`,
      );
    const role = roles.find((each) => each.arn === arn);
    const error = isSigned
      ? signedErrorResponse(role, request, arn)
      : tokenErrorResponse(role, get('WebIdentityToken'));
    if (error !== undefined) return error;
    sessions.push(`${arn} as ${name} for ${seconds}`);
    const keys = account.issueKeys({ holder: arn, lifeMs: seconds * 1_000 });
    return xmlResponse(
      200,
      `<${action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><${action}Result>` +
        `<AssumedRoleUser><AssumedRoleId>AROA:${name}</AssumedRoleId>` +
        `<Arn>${arn.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/${name}</Arn></AssumedRoleUser>` +
        `<Credentials><AccessKeyId>${keys.accessKeyId}</AccessKeyId><SecretAccessKey>${keys.secretAccessKey}</SecretAccessKey>` +
        `<SessionToken>${keys.sessionToken ?? ''}</SessionToken><Expiration>${new Date(keys.expiresAt).toISOString()}</Expiration></Credentials>` +
        `</${action}Result><ResponseMetadata><RequestId>req-ok</RequestId></ResponseMetadata></${action}Response>`,
    );
  }

  function signedErrorResponse(
    role: IamRole | undefined,
    request: FakeRequest,
    arn: string,
  ): FakeResponse | undefined {
    const keys = account.authenticate(request, 'sts');
    if (!('holder' in keys)) {
      const { __type: type, message } = keys.body as { __type: string; message: string };
      const code = type === 'UnrecognizedClientException' ? 'InvalidClientTokenId' : type;
      return errorResponse(403, code, message);
    }
    if (!/^arn:aws:iam::\d{12}:role\//.test(arn))
      return errorResponse(400, 'ValidationError', `${arn} is invalid`);
    if (role?.trustedHolders?.includes(keys.holder) === true) return undefined;
    return errorResponse(
      403,
      'AccessDenied',
      `User: ${keys.holder} is not authorized to perform: sts:AssumeRole on resource: ${arn}`,
    );
  }

  function tokenErrorResponse(role: IamRole | undefined, token: string): FakeResponse | undefined {
    const claims = verifyToken(token, isIssued);
    if (claims === undefined)
      return errorResponse(
        400,
        'InvalidIdentityToken',
        `Couldn't retrieve verification key from your identity provider ${token}`,
      );
    if (claims.exp * 1_000 <= now())
      return errorResponse(
        400,
        'ExpiredTokenException',
        `Token expired: current date/time must be before the expiration date/time ${token}`,
      );
    if (!claims.aud.includes(audience))
      return errorResponse(400, 'InvalidIdentityToken', 'Incorrect token audience');
    // STS sends the same error for a role that does not exist.
    if (role?.subject !== claims.sub)
      return errorResponse(
        403,
        'AccessDenied',
        'Not authorized to perform sts:AssumeRoleWithWebIdentity',
      );
    return undefined;
  }

  return Object.assign(await startFakeServer({ tls, handler }), { sessions });
}

function errorResponse(status: number, code: string, message: string): FakeResponse {
  return xmlResponse(
    status,
    `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error>` +
      `</ErrorResponse>`,
  );
}

function xmlResponse(status: number, body: string): FakeResponse {
  return {
    status,
    headers: { 'content-type': 'text/xml', 'x-amzn-requestid': `req-${randomUUID()}` },
    body,
  };
}
