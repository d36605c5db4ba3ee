import type { SecureContextOptions } from 'node:tls';
import {
  alibabaErrorResponse,
  alibabaTime,
  type AlibabaAccount,
  type AlibabaCall,
} from './alibaba-account.ts';
import { startFakeServer, type FakeResponse, type FakeServer } from './http-server.ts';
import { mintToken, verifyToken } from './service-account-token.ts';

/** A RAM role with its trust policy. */
export type RamRole = {
  readonly arn: string;
  /** Trusts the tokens of a ServiceAccount. */
  readonly oidc?: { readonly providerArn: string; readonly subject: string };
  /** Trusts the holders of keys: `user`, or the ARN of another role. */
  readonly trustedPrincipals?: readonly string[];
};

/** A fake STS. */
export type FakeSts = FakeServer & {
  /** The issued sessions: `ACTION ROLE as SESSION for SECONDS`. */
  readonly sessions: readonly string[];
};

const audience = 'sts.aliyuncs.com';

/** Makes a ServiceAccount token that the fake STS can verify. */
export function mintAlibabaToken(
  claims: Omit<Parameters<typeof mintToken>[0], 'audience'> & { readonly audience?: string },
): string {
  return mintToken({ audience, ...claims });
}

/**
 * Starts a fake STS. It verifies signatures, tokens (audience, expiry, signature), the trust
 * policies of roles, session names and durations.
 */
export async function startFakeSts(options: {
  readonly account: AlibabaAccount;
  readonly roles: readonly RamRole[];
  readonly now?: () => number;
  /** Whether the OIDC provider issued a token. Default: only those of {@link mintAlibabaToken}. */
  readonly isIssued?: ((token: string) => boolean) | undefined;
  readonly tls: SecureContextOptions;
}): Promise<FakeSts> {
  const { account, roles, now = Date.now, isIssued, tls } = options;
  const sessions: string[] = [];

  function handleCall({ action, version, parameters, holder }: AlibabaCall): FakeResponse {
    if (version !== '2015-04-01')
      return alibabaErrorResponse(404, 'InvalidVersion', 'Specified version is not valid.');
    const get = (name: string): string => parameters.get(name) ?? '';
    const arn = get('RoleArn');
    const seconds = Number(get('DurationSeconds'));
    if (!/^[\w+=,.@-]{2,64}$/.test(get('RoleSessionName')))
      return alibabaErrorResponse(
        400,
        'InvalidParameter.RoleSessionName',
        'The parameter RoleSessionName is wrongly formed.',
      );
    if (!(seconds >= 900 && seconds <= 43_200))
      return alibabaErrorResponse(
        400,
        'InvalidParameter.DurationSeconds',
        'The Min/Max value of DurationSeconds is 15min/12hr.',
      );
    const role = roles.find((each) => each.arn === arn);
    const errorResponse =
      action === 'AssumeRoleWithOIDC'
        ? tokenErrorResponse(role, get('OIDCProviderArn'), get('OIDCToken'))
        : action === 'AssumeRole'
          ? role?.trustedPrincipals?.includes(holder ?? '') === true
            ? undefined
            : alibabaErrorResponse(
                403,
                'NoPermission',
                'You are not authorized to do this action. You should be authorized by RAM.',
              )
          : alibabaErrorResponse(404, 'InvalidAction.NotFound', 'Specified api is not found.');
    if (errorResponse !== undefined) return errorResponse;
    sessions.push(`${action} ${arn} as ${get('RoleSessionName')} for ${seconds}`);
    const keys = account.issueKeys({ holder: arn, lifeMs: seconds * 1_000 });
    return {
      body: {
        RequestId: 'req-ok',
        AssumedRoleUser: { Arn: `${arn}/${get('RoleSessionName')}` },
        Credentials: {
          AccessKeyId: keys.accessKeyId,
          AccessKeySecret: keys.accessKeySecret,
          SecurityToken: keys.securityToken,
          Expiration: alibabaTime(keys.expiresAt),
        },
      },
    };
  }

  function tokenErrorResponse(
    role: RamRole | undefined,
    providerArn: string,
    token: string,
  ): FakeResponse | undefined {
    const authenticationFailure = (reason: string): FakeResponse =>
      alibabaErrorResponse(
        401,
        `AuthenticationFail.${reason}`,
        `This operation is forbidden: ${token}`,
      );
    if (role === undefined)
      return alibabaErrorResponse(404, 'EntityNotExist.Role', 'The specified Role not exists.');
    const claims = verifyToken(token, isIssued);
    if (claims === undefined) return authenticationFailure('OIDCToken.InvalidSignature');
    if (claims.exp * 1_000 <= now()) return authenticationFailure('OIDCToken.Expired');
    if (!claims.aud.includes(audience)) return authenticationFailure('OIDCToken.AudienceNotMatch');
    if (role.oidc?.providerArn !== providerArn || role.oidc.subject !== claims.sub)
      return authenticationFailure('NoPermission');
    return undefined;
  }

  const server = await startFakeServer({
    tls,
    handler: (request) => account.serve(request, handleCall, ['AssumeRoleWithOIDC']),
  });
  return Object.assign(server, { sessions });
}
