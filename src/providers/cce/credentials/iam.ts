import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import type { Redacted } from '../../../core/redacted.ts';
import { SecretError } from '../../../core/errors.ts';
import { digestOf } from '../../shared/identity/fingerprint.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { runLogin } from '../../shared/credentials/credential-cache.ts';
import { readBody } from '../../../http/response.ts';
import { classify } from '../../shared/reads/store-errors.ts';
import type { Api, CallResult } from '../api.ts';
import { type CceErrorResponse, tokenErrors } from '../errors.ts';
import { makeCredential, temporaryKeys, time, type CceCredential } from '../types.ts';

/** The remedy if the login service cannot be reached. */
const hint =
  'not every region has STS: HUAWEICLOUD_SDK_STS_ENDPOINT and _IAM_ENDPOINT name another';

/** The lifetimes that the logins request. */
const clusterKeyLifetimeSeconds = 21_600;
const podKeyLifetimeSeconds = 3_600;

export const idTokenOwner = 'the identity provider in HUAWEICLOUD_SDK_IDP_ID';

/**
 * Keys for the whole cluster from an ID token, by the variables of Huawei Cloud's SDKs
 * (`HUAWEICLOUD_SDK_IDP_ID`, `_ID_TOKEN_FILE`): the ID token gives an IAM token, which gives keys.
 * Each login reads the file again, because the token in it rotates.
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
        const tokenResult = await api.call({
          method: 'POST',
          url: new URL('/v3.0/OS-AUTH/id-token/tokens', iam),
          headers: { 'X-Idp-Id': idpId },
          body: { auth: { id_token: { id: idToken } } },
          signal,
        });
        if (tokenResult.error !== undefined)
          throw tokenRefusedError(tokenResult, `the token in ${tokenFile}`, [idToken]);
        const iamToken = tokenResult.response.headers['x-subject-token'];
        if (iamToken === undefined)
          throw new SecretError('STORE_ANSWER_INVALID', `${iam.host} answered without a token`);
        const keysResult = await api.call({
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
        if (keysResult.error !== undefined)
          throw tokenRefusedError(keysResult, idTokenOwner, [idToken, iamToken]);
        return makeCredential({
          ...readBody(keysResult.response, temporaryKeys, 'IAM'),
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

/** A session of an agency that STS gives for a ServiceAccount's token. */
export type AgencySession = {
  readonly agencyUrn: string;
  readonly providerUrn: string;
  readonly sessionName: string;
  readonly token: Redacted;
};

/**
 * Keys for one ServiceAccount: STS gives a session of an agency for its token
 * (AssumeAgencyWithOIDC, unsigned). The credential gate keeps a refused token from STS for a while.
 * It lets another token through at once.
 */
export async function assumeAgency(
  deps: { readonly api: Api; readonly sts: URL; readonly credentialGate: CredentialGate },
  { agencyUrn, providerUrn, sessionName, token }: AgencySession,
  signal: AbortSignal,
): Promise<CceCredential> {
  const owner = `agency ${agencyUrn}`;
  const idToken = token.reveal();
  const login = async (): Promise<CceCredential> => {
    const result = await deps.api.call({
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
    if (result.error !== undefined)
      throw tokenRefusedError(result, `the pod's token for ${owner}`, [idToken]);
    const { credentials } = readBody(result.response, assumeAgencyResponse, 'STS');
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

/** `namespace.account`, in the characters and the length that STS allows for a session name. */
export function sessionNameOf(namespace: string, serviceAccount: string): string {
  return `${namespace}.${serviceAccount}`.replace(/[^A-Za-z0-9_+=,.@-]/g, '-').slice(0, 128);
}

function tokenRefusedError(
  { error, context }: Extract<CallResult, { error: CceErrorResponse }>,
  owner: string,
  secrets: readonly string[],
): SecretError {
  return classify(tokenErrors, error, { ...context, owner }, secrets);
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
