import { readFile } from 'node:fs/promises';
import { SecretError } from '../../../core/errors.ts';
import { readBody } from '../../../http/response.ts';
import { runLogin } from '../../shared/credentials/run-login.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { digestOf } from '../../shared/identity/fingerprint.ts';
import { classify } from '../../shared/reads/store-errors.ts';
import type { ApiCall } from '../call.ts';
import { loginEndpointHint, tokenErrors } from '../errors.ts';
import { type CceCredential, makeCredential, temporaryKeys } from '../types.ts';

const keyLifetimeSeconds = 21_600;

export const idTokenOwner = 'the identity provider in HUAWEICLOUD_SDK_IDP_ID';

type IdTokenLoginDeps = {
  readonly call: ApiCall;
  readonly iam: URL;
  readonly credentialGate: CredentialGate;
  readonly idpId: string;
  readonly tokenFile: string;
};

/**
 * Gets keys for the whole cluster with an ID token, by the variables of Huawei Cloud's SDKs
 * (`HUAWEICLOUD_SDK_IDP_ID`, `_ID_TOKEN_FILE`). Each login reads the file again, because the token
 * in it rotates.
 */
export function createIdTokenLogin(
  deps: IdTokenLoginDeps,
): (signal: AbortSignal) => Promise<CceCredential> {
  const { credentialGate, idpId, tokenFile } = deps;
  const about = { owner: idTokenOwner, hint: loginEndpointHint };
  return async (signal) => {
    const idToken = await readToken(tokenFile);
    return credentialGate.run(digestOf(idpId, idToken), signal, () =>
      runLogin(signal, about, async () => {
        const iamToken = await getIamToken(deps, idToken, signal);
        return getKeys(deps, { idToken, iamToken }, signal);
      }),
    );
  };
}

/** The ID token gives an IAM token. */
async function getIamToken(
  { call, iam, idpId, tokenFile }: IdTokenLoginDeps,
  idToken: string,
  signal: AbortSignal,
): Promise<string> {
  const result = await call({
    method: 'POST',
    url: new URL('/v3.0/OS-AUTH/id-token/tokens', iam),
    headers: { 'X-Idp-Id': idpId },
    body: { auth: { id_token: { id: idToken } } },
    secrets: [idToken],
    signal,
  });
  if (result.error !== undefined) {
    const context = { ...result.context, owner: `the token in ${tokenFile}` };
    throw classify(tokenErrors, result.error, context, [idToken]);
  }
  const iamToken = result.response.headers['x-subject-token'];
  if (iamToken === undefined)
    throw new SecretError('STORE_ANSWER_INVALID', `${iam.host} sent a response without a token`);
  return iamToken;
}

/** The IAM token gives keys. */
async function getKeys(
  { call, iam }: IdTokenLoginDeps,
  { idToken, iamToken }: { readonly idToken: string; readonly iamToken: string },
  signal: AbortSignal,
): Promise<CceCredential> {
  const token = { id: iamToken, duration_seconds: keyLifetimeSeconds };
  const result = await call({
    method: 'POST',
    url: new URL('/v3.0/OS-CREDENTIAL/securitytokens', iam),
    body: { auth: { identity: { methods: ['token'], token } } },
    secrets: [iamToken],
    signal,
  });
  if (result.error !== undefined) {
    const context = { ...result.context, owner: idTokenOwner };
    throw classify(tokenErrors, result.error, context, [idToken, iamToken]);
  }
  return makeCredential({
    ...readBody(result.response, temporaryKeys, 'IAM'),
    owner: idTokenOwner,
  });
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
