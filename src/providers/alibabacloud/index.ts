import { createRefusals } from '../../flow/refusals.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Provider } from '../provider.ts';
import type { ProviderDeps } from '../provider-deps.ts';
import { createProviderRetry } from '../provider-retry.ts';
import { createProving } from '../proving.ts';
import type { SharedIdentity } from '../shared-identity.ts';
import { createAdmit } from './admit.ts';
import { readAlibabaConfig } from './config.ts';
import { createAlibabaCredentials } from './credentials.ts';
import { createMetadata } from './credentials/metadata.ts';
import { createFacts } from './facts.ts';
import { createAlibabaFetch } from './fetch.ts';
import type { AlibabaCredential } from './identity.ts';
import { planAlibaba, type AlibabaFacts, type AlibabaLogin } from './parameters.ts';
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
  const { http, now, log, budgetMetrics } = deps;
  const config = readAlibabaConfig(deps.env);
  const retry = createProviderRetry('alibabacloud', deps);
  const proving = createProving({ refusals: createRefusals({ now }) });
  const { cloud } = config;
  const credentials = createAlibabaCredentials({
    ...{ config: cloud, http, retry, proving, now },
    onFailure: ({ code, summary }) =>
      log.warn({ provider: 'alibabacloud', code, reason: summary }, 'keys not renewed'),
  });
  return {
    name: 'alibabacloud',
    facts: createFacts({ config, metadata: createMetadata({ http, retry, endpoint: cloud.metadata }) }),
    plan: planAlibaba,
    admit: createAdmit({
      ...{ config, now },
      serviceAccounts: deps.serviceAccounts,
      sharedIdentity: deps.sharedIdentity,
      principalOf: createPrincipals({ config, credentials, fingerprint: deps.fingerprint }),
    }),
    fetch: createAlibabaFetch({
      ...{ config: cloud, http, retry, proving, credentials, now },
      ...(budgetMetrics && { budgetMetrics }),
    }),
  };
}
