import type { Provider } from '../../core/provider.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { ProviderDeps } from '../shared/deps.ts';
import { HomeRegion } from '../shared/identity/home-region.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { createAuthorize } from './authorize.ts';
import { createNodeFacts } from './class/node-region.ts';
import { type AlibabaLogin, planAlibaba } from './class/parameters.ts';
import { readAlibabaConfig } from './config.ts';
import { createIdentitySources } from './principals.ts';
import { createAlibabaStore } from './store.ts';
import { clusterTexts } from './texts.ts';
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
  const { now, serviceAccounts, sharedIdentity } = deps;
  const config = readAlibabaConfig(deps.env);
  const { cloud } = config;
  const { metadata, principalOf, fetch } = createAlibabaStore(deps, { cloud, texts: clusterTexts });
  const homeRegion = new HomeRegion(config.region, (signal) => metadata.region(signal));
  return {
    name: 'alibabacloud',
    nodeFacts: createNodeFacts({ config, homeRegion }),
    plan: planAlibaba,
    authorize: createAuthorize({
      identitySources: createIdentitySources({ config, serviceAccounts, now }),
      ...{ sharedIdentity, homeRegion, config: cloud },
      principalOf,
    }),
    fetch,
  };
}
