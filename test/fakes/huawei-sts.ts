import type { TlsOptions } from 'node:tls';
import { startFakeServer, type FakeResponse, type FakeServer } from './http-server.ts';
import { huaweiTime } from './huawei-iam.ts';
import type { HuaweiAccount } from './huawei-account.ts';
import { verifyToken } from './service-account-token.ts';

/** An agency, and the tokens that its trust policy accepts. */
export type Agency = {
  readonly urn: string;
  readonly providerUrn: string;
  readonly subject: string;
  readonly audience: string;
};

/**
 * Starts a fake STS v5 with AssumeAgencyWithOIDC. It verifies tokens, agencies, session names and
 * durations.
 */
export async function startFakeSts(options: {
  readonly account: HuaweiAccount;
  readonly agencies: readonly Agency[];
  readonly now?: () => number;
  /** Whether the identity provider issued the token. Default: only tokens of `mintToken`. */
  readonly isIssued?: ((token: string) => boolean) | undefined;
  readonly tls: TlsOptions;
}): Promise<FakeServer> {
  const { account, agencies, now = Date.now, isIssued, tls } = options;
  const errorResponse = (status: number, error_code: string, error_msg: string): FakeResponse => ({
    status,
    headers: { 'x-request-id': 'sts-1' },
    body: { error_code, error_msg, request_id: 'sts-1', encoded_authorization_message: 'AAAA' },
  });
  return startFakeServer({
    tls,
    handler({ method, path, headers, body }) {
      if (method !== 'POST' || path !== '/v5/agencies/assume-with-oidc')
        return errorResponse(404, 'STS.0404', 'no such API');
      if (headers.authorization !== undefined)
        return errorResponse(400, 'STS.0400', 'must not be signed');
      const requestBody = JSON.parse(body.toString()) as Record<string, unknown>;
      const agency = agencies.find(({ urn }) => urn === requestBody.agency_urn);
      const idToken = String(requestBody.id_token);
      const seconds = Number(requestBody.duration_seconds);
      if (!/^[\w+=,.@-]{2,128}$/.test(String(requestBody.agency_session_name)))
        return errorResponse(400, 'STS.0400', 'agency_session_name is invalid');
      if (!(seconds >= 900 && seconds <= 43_200))
        return errorResponse(400, 'STS.0400', 'duration_seconds is invalid');
      const claims = verifyToken(idToken, isIssued);
      const isTrusted =
        claims !== undefined &&
        claims.exp * 1_000 > now() &&
        agency?.providerUrn === requestBody.provider_urn &&
        agency?.subject === claims.sub &&
        claims.aud.includes(agency.audience);
      if (!isTrusted)
        return errorResponse(403, 'STS.0403', `not allowed to assume with ${idToken}`);
      const { access, secret, securitytoken, expiresAt } = account.issueKeys(seconds * 1_000);
      return {
        body: {
          credentials: {
            access_key_id: access,
            secret_access_key: secret,
            security_token: securitytoken,
            expiration: huaweiTime(expiresAt),
          },
        },
      };
    },
  });
}
