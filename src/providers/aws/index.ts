import { RejectionCache } from '../../concurrency/rejection-cache.ts';
import type { Provider } from '../../core/provider.ts';
import type { KubeApi } from '../../kube/api.ts';
import { Nodes } from '../../kube/nodes.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import { CredentialGate } from '../shared/credentials/credential-gate.ts';
import { type ProviderDeps, createProviderRetry } from '../shared/deps.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { createAuthorize } from './authorize.ts';
import { createHomeRegion, createNodeFacts } from './class/node-region.ts';
import { createApi } from './call.ts';
import { type AwsLogin, type AwsNodeFacts, planAws } from './class/parameters.ts';
import { readAwsConfig } from './config.ts';
import { createAwsCredentials } from './credentials/index.ts';
import { createAwsFetch } from './fetch.ts';
import { createIdentitySources, createPrincipalOf } from './principals.ts';
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
  const { env, http, fingerprint, now, log, rateLimiterMetrics } = deps;
  const { serviceAccounts, sharedIdentity } = deps;
  const config = readAwsConfig(env);
  const { cloud } = config;
  const retry = createProviderRetry('aws', deps);
  const rejectionCache = new RejectionCache({ now });
  const credentialGate = new CredentialGate({ rejectionCache, now });
  const api = createApi({ config: cloud, http, retry, now });
  const credentials = createAwsCredentials({
    ...{ config: cloud, api, http, retry, credentialGate, now },
    onFailure: ({ code, summary: reason, requestId }) =>
      log.warn({ provider: 'aws', code, reason, requestId }, 'keys not renewed'),
  });
  const homeRegion = createHomeRegion({ config, nodes: new Nodes({ api: deps.kubeApi }) });
  return {
    name: 'aws',
    nodeFacts: createNodeFacts(homeRegion),
    plan: planAws,
    authorize: createAuthorize({
      identitySources: createIdentitySources({ config, serviceAccounts, now }),
      sharedIdentity,
      homeRegion,
      principalOf: createPrincipalOf({ config, credentials, fingerprint }),
    }),
    fetch: createAwsFetch({
      ...{ config: cloud, api, credentialGate, credentials, now },
      ...(rateLimiterMetrics && { rateLimiterMetrics }),
    }),
  };
}
