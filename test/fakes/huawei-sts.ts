import type { TlsOptions } from 'node:tls';
import { startFakeServer, type FakeAnswer, type FakeServer } from './http-server.ts';
import { huaweiTime } from './huawei-iam.ts';
import type { HuaweiAccount } from './huawei-keys.ts';
import { verifyToken } from './service-account-token.ts';

/** Whom an agency trusts, as its trust policy says. */
export type Agency = {
  readonly urn: string;
  readonly providerUrn: string;
  readonly subject: string;
  readonly audience: string;
};

/** STS v5, with its AssumeAgencyWithOIDC alone. It verifies tokens, agencies, session names and durations. */
export async function startFakeSts(options: {
  readonly account: HuaweiAccount;
  readonly agencies: readonly Agency[];
  readonly now?: () => number;
  /** Whether the identity provider has issued the token; default: those of `mintToken` alone. */
  readonly isIssued?: ((token: string) => boolean) | undefined;
  readonly tls: TlsOptions;
}): Promise<FakeServer> {
  const { account, agencies, now = Date.now, isIssued, tls } = options;
  const fault = (status: number, error_code: string, error_msg: string): FakeAnswer => ({
    status,
    headers: { 'x-request-id': 'sts-1' },
    body: { error_code, error_msg, request_id: 'sts-1', encoded_authorization_message: 'AAAA' },
  });
  return startFakeServer({
    tls,
    handler({ method, path, headers, body }) {
      if (method !== 'POST' || path !== '/v5/agencies/assume-with-oidc')
        return fault(404, 'STS.0404', 'no such API');
      if (headers.authorization !== undefined) return fault(400, 'STS.0400', 'must not be signed');
      const asked = JSON.parse(body.toString()) as Record<string, unknown>;
      const agency = agencies.find(({ urn }) => urn === asked.agency_urn);
      const idToken = String(asked.id_token);
      const seconds = Number(asked.duration_seconds);
      if (!/^[\w+=,.@-]{2,128}$/.test(String(asked.agency_session_name)))
        return fault(400, 'STS.0400', 'agency_session_name is invalid');
      if (!(seconds >= 900 && seconds <= 43_200))
        return fault(400, 'STS.0400', 'duration_seconds is invalid');
      const claims = verifyToken(idToken, isIssued);
      const trusted =
        claims !== undefined &&
        claims.exp * 1_000 > now() &&
        agency?.providerUrn === asked.provider_urn &&
        agency?.subject === claims.sub &&
        claims.aud.includes(agency.audience);
      if (!trusted) return fault(403, 'STS.0403', `not allowed to assume with ${idToken}`);
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
