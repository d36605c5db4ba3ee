import * as z from 'zod';
import { readBody } from '../../../http/response.ts';
import { runLogin } from '../../shared/credentials/run-login.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { digestOf } from '../../shared/identity/fingerprint.ts';
import { classify } from '../../shared/reads/store-errors.ts';
import type { ApiCall } from '../call.ts';
import { loginEndpointHint, tokenErrors } from '../errors.ts';
import { type AgencySession, type CceCredential, makeCredential, time } from '../types.ts';

const keyLifetimeSeconds = 3_600;

const assumeAgencyResponse = z.object({
  credentials: z.object({
    access_key_id: z.string().min(1),
    secret_access_key: z.string().min(1),
    security_token: z.string().min(1),
    expiration: time,
  }),
});

/**
 * Gets keys for one ServiceAccount: STS gives a session of an agency for its token
 * (AssumeAgencyWithOIDC, unsigned). After a refusal, the credential gate keeps the same token from
 * STS for a while. It lets another token through at once.
 */
export async function assumeAgency(
  deps: { readonly call: ApiCall; readonly sts: URL; readonly credentialGate: CredentialGate },
  { agencyUrn, providerUrn, sessionName, token }: AgencySession,
  signal: AbortSignal,
): Promise<CceCredential> {
  const { call, sts, credentialGate } = deps;
  const owner = `agency ${agencyUrn}`;
  const idToken = token.reveal();
  const logIn = async (): Promise<CceCredential> => {
    const result = await call({
      method: 'POST',
      url: new URL('/v5/agencies/assume-with-oidc', sts),
      body: {
        provider_urn: providerUrn,
        agency_urn: agencyUrn,
        agency_session_name: sessionName,
        id_token: idToken,
        duration_seconds: keyLifetimeSeconds,
      },
      secrets: [idToken],
      signal,
    });
    if (result.error !== undefined) {
      const context = { ...result.context, owner: `the pod's token for ${owner}` };
      throw classify(tokenErrors, result.error, context, [idToken]);
    }
    const { credentials } = readBody(result.response, assumeAgencyResponse, 'STS');
    return makeCredential({
      accessKey: credentials.access_key_id,
      secretKey: credentials.secret_access_key,
      securityToken: credentials.security_token,
      expiresAt: credentials.expiration,
      owner,
    });
  };
  const digest = digestOf(agencyUrn, providerUrn, idToken);
  const about = { owner, hint: loginEndpointHint };
  return credentialGate.run(digest, signal, () => runLogin(signal, about, logIn));
}
