import type { Retry } from '../../../concurrency/retry.ts';
import type { SecretError } from '../../../core/errors.ts';
import type { HttpClient } from '../../../http/client.ts';
import { CredentialCache, runLogin } from '../../shared/credentials/credential-cache.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { createSdk } from '../sdk.ts';
import type { AwsCloudConfig, AwsCredential, AwsIdentity } from '../types.ts';
import { createOwnChain } from './own-chain.ts';
import { createPodIdentity } from './pod-identity.ts';
import { assumeRoleWithWebIdentity } from './sts.ts';

/** Keys for principals, each made once, kept by the principal's fingerprint, and made anew 5 minutes before their end. */
export type AwsCredentials = {
  /**
   * @param cacheKey stands for all of `identity`; of a token, for whose it is
   * @throws SecretError CREDENTIALS_REFUSED, CREDENTIALS_UNAVAILABLE, NOT_CONFIGURED
   */
  of(cacheKey: string, identity: AwsIdentity, signal: AbortSignal): Promise<AwsCredential>;
  /** See {@link CredentialCache.invalidate}. */
  invalidate(cacheKey: string, credential: AwsCredential): boolean;
};

/** What {@link createAwsCredentials} needs. */
export type AwsCredentialsDeps = {
  readonly config: AwsCloudConfig;
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly proving: CredentialGate;
  readonly now: () => number;
  /** Told of a login that failed while older keys still serve. */
  readonly onFailure?: (error: SecretError) => void;
};

/** See {@link AwsCredentials}. */
export function createAwsCredentials(deps: AwsCredentialsDeps): AwsCredentials {
  const { config, http, retry, proving, now, onFailure } = deps;
  const cache = new CredentialCache<AwsCredential>({ now, ...(onFailure && { onFailure }) });
  const sdk = createSdk({ config, http });
  const podIdentity = createPodIdentity({ http, retry, proving, agent: config.podIdentityAgent });
  const ownChain = createOwnChain({ http });

  const login = (identity: AwsIdentity, signal: AbortSignal): Promise<AwsCredential> => {
    switch (identity.kind) {
      case 'irsa':
        return assumeRoleWithWebIdentity({ sdk, retry, proving }, identity, signal);
      case 'pod-identity':
        return podIdentity(identity, signal);
      case 'own-chain':
        return ownChain(identity.region, signal);
    }
  };

  return {
    of: (cacheKey, identity, signal) =>
      cache.get(cacheKey, signal, (flight) =>
        runLogin(flight, sources[identity.kind], () => login(identity, flight)),
      ),
    invalidate: (cacheKey, credential) => cache.invalidate(cacheKey, credential),
  };
}

const sources: Readonly<
  Record<AwsIdentity['kind'], { readonly owner: string; readonly hint: string }>
> = {
  irsa: { owner: 'the role of the ServiceAccount', hint: 'check the way to STS, and its endpoint' },
  'pod-identity': {
    owner: 'the pod, from EKS Pod Identity',
    hint: 'check that the add-on eks-pod-identity-agent runs on this node',
  },
  'own-chain': {
    owner: "Keyferry's own identity",
    hint: 'check the way to STS and to the metadata of the node',
  },
};
