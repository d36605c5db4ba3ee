import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import type { Redacted } from '../../../core/redacted.ts';
import { SecretError } from '../../../core/errors.ts';
import type { HttpResponse } from '../../../http/client.ts';
import { digestOf } from '../../shared/identity/fingerprint.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { runLogin } from '../../shared/credentials/credential-cache.ts';
import { readBody } from '../../../http/response.ts';
import type { Api } from '../api.ts';
import { describeCceErrorResponse, parseCceErrorResponse } from '../errors.ts';
import { makeCredential, temporaryKeys, time, type CceCredential } from '../types.ts';

/** For a login that is not to be reached. */
const hint =
  'not every region has STS: HUAWEICLOUD_SDK_STS_ENDPOINT and _IAM_ENDPOINT name another';

/** How long the keys live that are asked for. */
const clusterKeyLifetimeSeconds = 21_600;
const podKeyLifetimeSeconds = 3_600;

export const idTokenOwner = 'the identity provider in HUAWEICLOUD_SDK_IDP_ID';

/**
 * Keys for the whole cluster out of an ID token, as the SDKs' variables `HUAWEICLOUD_SDK_IDP_ID` and `_ID_TOKEN_FILE` mean it: the token for
 * an IAM token, and that for keys. The file is read at each login, so a token that is rotated is found.
 */
export function createIdTokenSource(deps: {
  readonly api: Api;
  readonly iam: URL;
  readonly credentialGate: CredentialGate;
  readonly idpId: string;
  readonly tokenFile: string;
}): (signal: AbortSignal) => Promise<CceCredential> {
  const { api, iam, credentialGate, idpId, tokenFile } = deps;
  return async (signal) => {
    const idToken = await readToken(tokenFile);
    return credentialGate.run(digestOf(idpId, idToken), signal, () =>
      runLogin(signal, { owner: idTokenOwner, hint }, async () => {
        const tokenResponse = await api.call({
          method: 'POST',
          url: new URL('/v3.0/OS-AUTH/id-token/tokens', iam),
          headers: { 'X-Idp-Id': idpId },
          body: { auth: { id_token: { id: idToken } } },
          signal,
        });
        const iamToken = tokenResponse.headers['x-subject-token'];
        if (!isSuccess(tokenResponse))
          throw tokenRefusedError(tokenResponse, `the token in ${tokenFile}`, [idToken]);
        if (iamToken === undefined)
          throw new SecretError('STORE_ANSWER_INVALID', `${iam.host} answered without a token`);
        const keysResponse = await api.call({
          method: 'POST',
          url: new URL('/v3.0/OS-CREDENTIAL/securitytokens', iam),
          body: {
            auth: {
              identity: {
                methods: ['token'],
                token: { id: iamToken, duration_seconds: clusterKeyLifetimeSeconds },
              },
            },
          },
          signal,
        });
        if (!isSuccess(keysResponse))
          throw tokenRefusedError(keysResponse, idTokenOwner, [idToken, iamToken]);
        return makeCredential({
          ...readBody(keysResponse, temporaryKeys, 'IAM'),
          owner: idTokenOwner,
        });
      }),
    );
  };
}

const assumeAgencyResponse = z.object({
  credentials: z.object({
    access_key_id: z.string().min(1),
    secret_access_key: z.string().min(1),
    security_token: z.string().min(1),
    expiration: time,
  }),
});

/** A session of an agency to be had for a ServiceAccount's token. */
export type AgencySession = {
  readonly agencyUrn: string;
  readonly providerUrn: string;
  readonly sessionName: string;
  readonly token: Redacted;
};

/**
 * Keys for one ServiceAccount: its token for a session of an agency (STS, AssumeAgencyWithOIDC, unsigned). A token that was refused is
 * not shown again for a while; another one is tried at once.
 */
export async function assumeAgency(
  deps: { readonly api: Api; readonly sts: URL; readonly credentialGate: CredentialGate },
  { agencyUrn, providerUrn, sessionName, token }: AgencySession,
  signal: AbortSignal,
): Promise<CceCredential> {
  const owner = `agency ${agencyUrn}`;
  const idToken = token.reveal();
  const login = async (): Promise<CceCredential> => {
    const response = await deps.api.call({
      method: 'POST',
      url: new URL('/v5/agencies/assume-with-oidc', deps.sts),
      body: {
        provider_urn: providerUrn,
        agency_urn: agencyUrn,
        agency_session_name: sessionName,
        id_token: idToken,
        duration_seconds: podKeyLifetimeSeconds,
      },
      signal,
    });
    if (!isSuccess(response))
      throw tokenRefusedError(response, `the pod's token for ${owner}`, [idToken]);
    const { credentials } = readBody(response, assumeAgencyResponse, 'STS');
    return makeCredential({
      accessKey: credentials.access_key_id,
      secretKey: credentials.secret_access_key,
      securityToken: credentials.security_token,
      expiresAt: credentials.expiration,
      owner,
    });
  };
  const key = digestOf(agencyUrn, providerUrn, idToken);
  return deps.credentialGate.run(key, signal, () => runLogin(signal, { owner, hint }, login));
}

/** `ns.account`, in the letters and the length a session's name may have. */
export function sessionNameOf(namespace: string, serviceAccount: string): string {
  return `${namespace}.${serviceAccount}`.replace(/[^A-Za-z0-9_+=,.@-]/g, '-').slice(0, 128);
}

function isSuccess({ status }: HttpResponse): boolean {
  return status === 200 || status === 201;
}

/** The codes of STS are documented nowhere, so any refusal is one of the token, and shows the code. */
function tokenRefusedError(
  response: HttpResponse,
  subject: string,
  secrets: readonly string[],
): SecretError {
  return new SecretError(
    'CREDENTIALS_REFUSED',
    `Huawei Cloud refused ${subject} ${describeCceErrorResponse(parseCceErrorResponse(response), secrets)}`,
    { hint: 'check the identity provider (issuer, audience, keys) and whom the agency trusts' },
  );
}

async function readToken(file: string): Promise<string> {
  try {
    const text = (await readFile(file, 'utf8')).trim();
    if (text !== '') return text;
  } catch (cause) {
    throw new SecretError('NOT_CONFIGURED', `the token file ${file} cannot be read`, {
      hint: 'HUAWEICLOUD_SDK_ID_TOKEN_FILE names a file that this process may read',
      cause,
    });
  }
  throw new SecretError('NOT_CONFIGURED', `the token file ${file} is empty`);
}
