import type { Retry } from '../../../concurrency/retry.ts';
import type { SecretError } from '../../../core/errors.ts';
import type { HttpClient } from '../../../http/client.ts';
import { CredentialCache } from '../../shared/credentials/credential-cache.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { runLogin } from '../../shared/credentials/run-login.ts';
import type { Api } from '../call.ts';
import type { AwsCloudConfig } from '../config.ts';
import type { AwsTexts } from '../texts.ts';
import type { AwsCredential, AwsCredentialRequest } from '../types.ts';
import { createDefaultChain } from './default-chain.ts';
import { createPodIdentity } from './pod-identity.ts';
import { assumeRole, assumeRoleWithWebIdentity } from './sts.ts';

/**
 * The credentials of principals, cached by fingerprint. The cache replaces a credential 5 minutes
 * before its end.
 */
export type AwsCredentials = {
  /**
   * @param fingerprint identifies all of `request`. It covers the owner of a token, not the token
   * @throws SecretError CREDENTIALS_REFUSED, CREDENTIALS_UNAVAILABLE, NOT_CONFIGURED
   */
  get(
    fingerprint: string,
    request: AwsCredentialRequest,
    signal: AbortSignal,
  ): Promise<AwsCredential>;
  /** See {@link CredentialCache.invalidate}. */
  invalidate(fingerprint: string, credential: AwsCredential): boolean;
};

/** What {@link createAwsCredentials} needs. */
export type AwsCredentialsDeps = {
  readonly config: Pick<AwsCloudConfig, 'podIdentityAgent'>;
  readonly texts: AwsTexts;
  readonly api: Api;
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly credentialGate: CredentialGate;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Gets the error of a login that failed while older keys still serve. */
  readonly onFailure?: (error: SecretError) => void;
};

/** See {@link AwsCredentials}. */
export function createAwsCredentials(deps: AwsCredentialsDeps): AwsCredentials {
  const { config, api, http, retry, credentialGate, now, texts, onFailure } = deps;
  const cache = new CredentialCache<AwsCredential>({ now, ...(onFailure && { onFailure }) });
  const agent = config.podIdentityAgent;
  const podIdentity = createPodIdentity({ http, retry, credentialGate, agent, now });
  const defaultChain = createDefaultChain({ http, now, texts });

  const login = async (
    request: AwsCredentialRequest,
    signal: AbortSignal,
  ): Promise<AwsCredential> => {
    switch (request.kind) {
      case 'irsa':
        return assumeRoleWithWebIdentity({ api, credentialGate }, request, signal);
      case 'pod-identity':
        return podIdentity(request, signal);
      case 'default-chain':
        return defaultChain(request, signal);
      case 'assumed-role': {
        const { base, region } = request;
        const credential = await defaultChain({ ...base, region }, signal);
        const holder = { credential, owner: texts.owner };
        return assumeRole({ api, credentialGate }, holder, request, signal);
      }
    }
  };

  return {
    get: (fingerprint, request, signal) =>
      cache.get(fingerprint, signal, (loginSignal) =>
        runLogin(loginSignal, loginTextsOf(request, texts), () => login(request, loginSignal)),
      ),
    invalidate: (fingerprint, credential) => cache.invalidate(fingerprint, credential),
  };
}

/** For messages of {@link runLogin}. */
function loginTextsOf(
  request: AwsCredentialRequest,
  { owner, loginHint }: AwsTexts,
): { readonly owner: string; readonly hint: string } {
  const stsHint = 'check the network path to STS, and its endpoint';
  switch (request.kind) {
    case 'irsa':
      return { owner: 'the role of the ServiceAccount', hint: stsHint };
    case 'pod-identity':
      return {
        owner: 'the pod, from EKS Pod Identity',
        hint: 'check that the add-on eks-pod-identity-agent runs on this node',
      };
    case 'default-chain':
      return { owner, hint: loginHint };
    case 'assumed-role':
      return { owner: `the role ${request.roleArn}`, hint: stsHint };
  }
}
