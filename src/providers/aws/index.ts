import type { Provider } from '../../core/provider.ts';
import type { KubeApi } from '../../kube/api.ts';
import { Nodes } from '../../kube/nodes.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { ProviderDeps } from '../shared/deps.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { createAuthorize } from './authorize.ts';
import { createHomeRegion, createNodeFacts } from './class/node-region.ts';
import { type AwsLogin, type AwsNodeFacts, planAws } from './class/parameters.ts';
import { readAwsConfig } from './config.ts';
import { createIdentitySources } from './principals.ts';
import { createAwsStore } from './store.ts';
import { clusterTexts } from './texts.ts';
import type { AwsCredential } from './types.ts';

/**
 * What the provider needs of its process. AWS's SDK also finds Keyferry's own identity in
 * the process, where the operator switched that identity on.
 */
export type AwsDeps = ProviderDeps & {
  readonly kubeApi: Pick<KubeApi, 'get'>;
  readonly serviceAccounts: ServiceAccounts;
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
};

/**
 * Provider `aws`: Secrets Manager and the Parameter Store, for the classes of
 * secrets-store-csi-driver-provider-aws.
 * @throws SecretError NOT_CONFIGURED for a variable that cannot be used
 */
export function createAwsProvider(deps: AwsDeps): Provider<AwsLogin, AwsNodeFacts, AwsCredential> {
  const { env, now, serviceAccounts, sharedIdentity } = deps;
  const config = readAwsConfig(env);
  const { cloud } = config;
  const { principalOf, fetch } = createAwsStore(deps, { cloud, texts: clusterTexts });
  const homeRegion = createHomeRegion({ config, nodes: new Nodes({ api: deps.kubeApi }) });
  return {
    name: 'aws',
    nodeFacts: createNodeFacts(homeRegion),
    plan: planAws,
    authorize: createAuthorize({
      identitySources: createIdentitySources({ config, serviceAccounts, now }),
      sharedIdentity,
      homeRegion,
      principalOf,
    }),
    fetch,
  };
}
