import type { AwsAccount } from './aws-account.ts';
import {
  startFakeServer,
  type FakeResponse,
  type FakeRequest,
  type FakeServer,
} from './http-server.ts';
import { verifyToken } from './service-account-token.ts';

/** The agent of EKS Pod Identity at one of its addresses. */
export type FakePodIdentityAgent = FakeServer & {
  /** `ROLE for NAMESPACE/ACCOUNT/POD-UID`, for each session that it issued. */
  readonly sessions: readonly string[];
};

/**
 * Starts an agent with plain HTTP, as the real one. It verifies audience, expiry and signature of
 * tokens, and that they are bound to a pod.
 */
export function startFakePodIdentityAgent(options: {
  readonly account: AwsAccount;
  /** Role ARNs by `namespace/account`. Edit it at any time. */
  readonly associations: ReadonlyMap<string, string>;
  readonly now: () => number;
  /** Whether it accepts a token. Default: tokens of `mintToken`. */
  readonly isIssued?: ((token: string) => boolean) | undefined;
  readonly lifeMs?: number;
}): Promise<FakePodIdentityAgent> {
  const { account, associations, now, isIssued, lifeMs = 6 * 3_600_000 } = options;
  const sessions: string[] = [];

  function handler({ method, path, headers }: FakeRequest): FakeResponse {
    if (method !== 'GET' || path !== '/v1/credentials')
      return { status: 404, body: '404 page not found\n' };
    const token = headers.authorization ?? '';
    const claims = verifyToken(token, isIssued);
    if (claims === undefined)
      return {
        status: 400,
        body: `Service account token cannot be parsed: token is malformed: ${token}\n`,
      };
    const { namespace, pod, serviceaccount } = claims['kubernetes.io'];
    if (!claims.aud.includes('pods.eks.amazonaws.com'))
      return errorResponse(
        400,
        'InvalidTokenException',
        'The token included in the request has an incorrect audience.',
      );
    if (claims.exp * 1_000 <= now())
      return errorResponse(
        400,
        'ExpiredTokenException',
        'The token included in the request is expired.',
      );
    const role = associations.get(`${namespace}/${serviceaccount.name}`);
    if (role === undefined)
      return errorResponse(
        404,
        'ResourceNotFoundException',
        'The association for the service account could not be found.',
      );
    sessions.push(`${role} for ${namespace}/${serviceaccount.name}/${pod.uid}`);
    const keys = account.issueKeys({ holder: role, lifeMs });
    return {
      body: {
        AccessKeyId: keys.accessKeyId,
        SecretAccessKey: keys.secretAccessKey,
        Token: keys.sessionToken,
        AccountId: account.id,
        Expiration: new Date(keys.expiresAt).toISOString(),
      },
    };
  }

  return startFakeServer({ handler }).then((server) => Object.assign(server, { sessions }));
}

/** The agent's text for an error of EKS. */
function errorResponse(status: number, code: string, message: string): FakeResponse {
  return { status, body: `[7d0f1c2e]: (${code}): ${message}, fault: client\n` };
}
