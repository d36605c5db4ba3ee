import type { Retry } from '../../../concurrency/retry.ts';
import type { SecretError } from '../../../core/errors.ts';
import type { HttpClient } from '../../../http/client.ts';
import { CredentialCache } from '../../shared/credentials/credential-cache.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { runLogin } from '../../shared/credentials/run-login.ts';
import type { Api } from '../call.ts';
import type { AwsCloudConfig } from '../config.ts';
import type { AwsCredential, AwsCredentialRequest } from '../types.ts';
import { createDefaultChain } from './default-chain.ts';
import { createPodIdentity } from './pod-identity.ts';
import { assumeRoleWithWebIdentity } from './sts.ts';

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
  const { config, api, http, retry, credentialGate, now, onFailure } = deps;
  const cache = new CredentialCache<AwsCredential>({ now, ...(onFailure && { onFailure }) });
  const agent = config.podIdentityAgent;
  const podIdentity = createPodIdentity({ http, retry, credentialGate, agent, now });
  const defaultChain = createDefaultChain({ http, now });

  const login = (request: AwsCredentialRequest, signal: AbortSignal): Promise<AwsCredential> => {
    switch (request.kind) {
      case 'irsa':
        return assumeRoleWithWebIdentity({ api, credentialGate }, request, signal);
      case 'pod-identity':
        return podIdentity(request, signal);
      case 'default-chain':
        return defaultChain(request.region, signal);
    }
  };

  return {
    get: (fingerprint, request, signal) =>
      cache.get(fingerprint, signal, (loginSignal) =>
        runLogin(loginSignal, loginTexts[request.kind], () => login(request, loginSignal)),
      ),
    invalidate: (fingerprint, credential) => cache.invalidate(fingerprint, credential),
  };
}

/** For messages of {@link runLogin}. */
const loginTexts: Readonly<
  Record<AwsCredentialRequest['kind'], { readonly owner: string; readonly hint: string }>
> = {
  irsa: {
    owner: 'the role of the ServiceAccount',
    hint: 'check the network path to STS, and its endpoint',
  },
  'pod-identity': {
    owner: 'the pod, from EKS Pod Identity',
    hint: 'check that the add-on eks-pod-identity-agent runs on this node',
  },
  'default-chain': {
    owner: "Keyferry's own identity",
    hint: 'check the network path to STS and to the metadata of the node',
  },
};
