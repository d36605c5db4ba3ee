import { RejectionCache } from '../../concurrency/rejection-cache.ts';
import type { Provider } from '../../core/provider.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import { CredentialGate } from '../shared/credentials/credential-gate.ts';
import { type ProviderDeps, createProviderRetry } from '../shared/deps.ts';
import { HomeRegion } from '../shared/identity/home-region.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { createAuthorize } from './authorize.ts';
import { createNodeFacts } from './class/node-region.ts';
import { type AlibabaLogin, planAlibaba } from './class/parameters.ts';
import { readAlibabaConfig } from './config.ts';
import { createAlibabaCredentials } from './credentials/index.ts';
import { createMetadata } from './credentials/metadata.ts';
import { createAlibabaFetch } from './fetch.ts';
import { createIdentitySources, createPrincipalOf } from './principals.ts';
import type { AlibabaCredential, AlibabaNodeFacts } from './types.ts';

/** What the provider needs from its process. */
export type AlibabaDeps = ProviderDeps & {
  readonly serviceAccounts: ServiceAccounts;
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
};

/**
 * Provider `alibabacloud`: KMS secrets and OOS parameters, for the classes of
 * csi-secrets-store-provider-alibabacloud.
 * @throws SecretError NOT_CONFIGURED for a variable with a bad value
 */
export function createAlibabaProvider(
  deps: AlibabaDeps,
): Provider<AlibabaLogin, AlibabaNodeFacts, AlibabaCredential> {
  const { http, now, log, serviceAccounts, sharedIdentity, fingerprint, rateLimiterMetrics } = deps;
  const config = readAlibabaConfig(deps.env);
  const { cloud } = config;
  const retry = createProviderRetry('alibabacloud', deps);
  const credentialGate = new CredentialGate({ rejectionCache: new RejectionCache({ now }), now });
  const metadata = createMetadata({ http, retry, endpoint: cloud.metadata, now });
  const credentials = createAlibabaCredentials({
    ...{ config: cloud, http, retry, credentialGate, metadata, now },
    onFailure: ({ code, summary: reason, requestId }) =>
      log.warn({ provider: 'alibabacloud', code, reason, requestId }, 'keys not renewed'),
  });
  const homeRegion = new HomeRegion(config.region, (signal) => metadata.region(signal));
  return {
    name: 'alibabacloud',
    nodeFacts: createNodeFacts({ config, homeRegion }),
    plan: planAlibaba,
    authorize: createAuthorize({
      identitySources: createIdentitySources({ config, serviceAccounts, now }),
      ...{ sharedIdentity, homeRegion, config: cloud },
      principalOf: createPrincipalOf({ config, credentials, fingerprint }),
    }),
    fetch: createAlibabaFetch({
      ...{ config: cloud, http, retry, credentialGate, credentials, now },
      ...(rateLimiterMetrics && { rateLimiterMetrics }),
    }),
  };
}
