import * as z from 'zod';
import { Redacted } from '../../../core/redacted.ts';
import type { HttpResponse } from '../../../http/client.ts';
import { digestOf } from '../../shared/identity/fingerprint.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { readBody } from '../../../http/response.ts';
import { classify } from '../../shared/reads/store-errors.ts';
import type { Api } from '../call.ts';
import { assumeRoleErrors, oidcTokenErrors } from '../errors.ts';
import { type AlibabaCredential, credentialDigest, secretsOf, time } from '../types.ts';

/** The version of STS's API. */
const version = '2015-04-01';

/** What logins need. */
export type StsDeps = {
  readonly api: Api;
  readonly sts: URL;
  readonly credentialGate: CredentialGate;
};

/** The session that a login requests. */
export type RoleSession = {
  readonly roleArn: string;
  readonly sessionName: string;
  readonly durationSeconds: number;
};

const sessionResponse = z.object({
  Credentials: z.object({
    AccessKeyId: z.string().min(1),
    AccessKeySecret: z.string().min(1),
    SecurityToken: z.string().min(1),
    Expiration: time,
  }),
});

/**
 * Logs in with an OIDC token (AssumeRoleWithOIDC). The call is not signed. The token is in the
 * body, not in the address. The credential gate keeps a refused token from STS for a while. It lets
 * another token through at once.
 * @throws SecretError CREDENTIALS_REFUSED; those of an outage
 */
export async function assumeRoleWithOidc(
  { api, sts, credentialGate }: StsDeps,
  session: RoleSession & { readonly oidcProviderArn: string; readonly token: Redacted },
  signal: AbortSignal,
): Promise<AlibabaCredential> {
  const { roleArn, oidcProviderArn } = session;
  const token = session.token.reveal();
  return credentialGate.run(digestOf(roleArn, oidcProviderArn, token), signal, async () => {
    const result = await api.call({
      endpoint: sts,
      action: 'AssumeRoleWithOIDC',
      version,
      form: { ...parametersOf(session), OIDCProviderArn: oidcProviderArn, OIDCToken: token },
      secrets: [token],
      signal,
    });
    if (result.error !== undefined)
      throw classify(oidcTokenErrors, result.error, { roleArn }, [token]);
    return parseCredential(result.response, roleArn);
  });
}

/**
 * Logs in with another credential (AssumeRole).
 * @param base.owner the owner of that credential, for messages
 * @throws SecretError CREDENTIALS_REFUSED for the credential, ACCESS_DENIED if it may not assume
 *   the role; those of an outage
 */
export async function assumeRole(
  { api, sts, credentialGate }: StsDeps,
  base: { readonly credential: AlibabaCredential; readonly owner: string },
  session: RoleSession,
  signal: AbortSignal,
): Promise<AlibabaCredential> {
  const { credential, owner } = base;
  const { roleArn } = session;
  return credentialGate.run(credentialDigest(credential), signal, async () => {
    const result = await api.call({
      endpoint: sts,
      action: 'AssumeRole',
      version,
      query: parametersOf(session),
      credential,
      signal,
    });
    if (result.error === undefined) return parseCredential(result.response, roleArn);
    const context = { owner, isSession: credential.securityToken !== undefined, roleArn };
    throw classify(assumeRoleErrors, result.error, context, secretsOf(credential));
  });
}

/**
 * The account in `acs:ram::1234567890:role/reader`; for a text of another form, the text itself.
 */
export function accountOf(arn: string): string {
  return /^acs:ram::(\d+):/.exec(arn)?.[1] ?? arn;
}

function parametersOf({
  roleArn,
  sessionName,
  durationSeconds,
}: RoleSession): Record<string, string> {
  return {
    RoleArn: roleArn,
    RoleSessionName: sessionName,
    DurationSeconds: String(durationSeconds),
  };
}

/** @throws SecretError STORE_ANSWER_INVALID */
function parseCredential(response: HttpResponse, roleArn: string): AlibabaCredential {
  const { Credentials: keys } = readBody(response, sessionResponse, 'STS');
  return {
    accessKeyId: keys.AccessKeyId,
    accessKeySecret: new Redacted(keys.AccessKeySecret),
    securityToken: new Redacted(keys.SecurityToken),
    expiresAt: keys.Expiration,
    account: accountOf(roleArn),
  };
}
