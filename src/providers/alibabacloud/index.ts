import { RejectionCache } from '../../concurrency/rejection-cache.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Provider } from '../../core/provider.ts';
import type { ProviderDeps } from '../shared/deps.ts';
import { createProviderRetry } from '../shared/deps.ts';
import { CredentialGate } from '../shared/credentials/credential-gate.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { createAdmit } from './authorize.ts';
import { readAlibabaConfig } from './config.ts';
import { createAlibabaCredentials } from './credentials/index.ts';
import { createMetadata } from './credentials/metadata.ts';
import { createFacts } from './class/node-region.ts';
import { createAlibabaFetch } from './fetch.ts';
import type { AlibabaCredential } from './types.ts';
import { planAlibaba, type AlibabaLogin } from './class/parameters.ts';
import type { AlibabaFacts } from './types.ts';
import { createPrincipals } from './principals.ts';

/** What the provider needs of the process it runs in. */
export type AlibabaDeps = ProviderDeps & {
  readonly serviceAccounts: ServiceAccounts;
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
};

/**
 * Provider `alibabacloud`: KMS secrets and OOS parameters, for the classes of csi-secrets-store-provider-alibabacloud.
 * @throws SecretError NOT_CONFIGURED for a variable that cannot be used
 */
export function createAlibabaProvider(
  deps: AlibabaDeps,
): Provider<AlibabaLogin, AlibabaFacts, AlibabaCredential> {
  const { http, now, log, rateLimiterMetrics: budgetMetrics } = deps;
  const config = readAlibabaConfig(deps.env);
  const retry = createProviderRetry('alibabacloud', deps);
  const credentialGate = new CredentialGate({ rejectionCache: new RejectionCache({ now }), now });
  const { cloud } = config;
  const credentials = createAlibabaCredentials({
    ...{ config: cloud, http, retry, credentialGate, now },
    onFailure: ({ code, summary }) =>
      log.warn({ provider: 'alibabacloud', code, reason: summary }, 'keys not renewed'),
  });
  return {
    name: 'alibabacloud',
    nodeFacts: createFacts({
      config,
      metadata: createMetadata({ http, retry, endpoint: cloud.metadata, now }),
    }),
    plan: planAlibaba,
    authorize: createAdmit({
      ...{ config, now },
      serviceAccounts: deps.serviceAccounts,
      sharedIdentity: deps.sharedIdentity,
      principalOf: createPrincipals({ config, credentials, fingerprint: deps.fingerprint }),
    }),
    fetch: createAlibabaFetch({
      ...{ config: cloud, http, retry, credentialGate, credentials, now },
      ...(budgetMetrics && { budgetMetrics }),
    }),
  };
}
