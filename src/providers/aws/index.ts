import { RejectionCache } from '../../concurrency/rejection-cache.ts';
import type { KubeApi } from '../../kube/api.ts';
import { Nodes } from '../../kube/nodes.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Provider } from '../../core/provider.ts';
import type { ProviderDeps } from '../shared/deps.ts';
import { createProviderRetry } from '../shared/deps.ts';
import { CredentialGate } from '../shared/credentials/credential-gate.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { createAdmit } from './authorize.ts';
import { readAwsConfig } from './config.ts';
import { createAwsCredentials } from './credentials/index.ts';
import { createFacts } from './class/node-region.ts';
import { createAwsFetch } from './fetch.ts';
import type { AwsCredential } from './types.ts';
import { planAws, type AwsFacts, type AwsLogin } from './class/parameters.ts';
import { createPrincipals } from './principals.ts';

/** What the provider needs of the process it runs in, where the SDK also finds Keyferry's own identity, if the operator lends it. */
export type AwsDeps = ProviderDeps & {
  readonly kubeApi: Pick<KubeApi, 'get'>;
  readonly serviceAccounts: ServiceAccounts;
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
};

/**
 * Provider `aws`: Secrets Manager and the Parameter Store, for the classes of secrets-store-csi-driver-provider-aws.
 * @throws SecretError NOT_CONFIGURED for a variable that cannot be used
 */
export function createAwsProvider(deps: AwsDeps): Provider<AwsLogin, AwsFacts, AwsCredential> {
  const { env, http, now, log, rateLimiterMetrics } = deps;
  const config = readAwsConfig(env);
  const retry = createProviderRetry('aws', deps);
  const credentialGate = new CredentialGate({ rejectionCache: new RejectionCache({ now }), now });
  const { cloud } = config;
  const credentials = createAwsCredentials({
    ...{ config: cloud, http, retry, credentialGate, now },
    onFailure: ({ code, summary }) =>
      log.warn({ provider: 'aws', code, reason: summary }, 'keys not renewed'),
  });
  return {
    name: 'aws',
    nodeFacts: createFacts({ config, nodes: new Nodes({ api: deps.kubeApi }) }),
    plan: planAws,
    authorize: createAdmit({
      ...{ config, now },
      serviceAccounts: deps.serviceAccounts,
      sharedIdentity: deps.sharedIdentity,
      principalIn: createPrincipals({ config, credentials, fingerprint: deps.fingerprint }),
    }),
    fetch: createAwsFetch({
      ...{ config: cloud, http, retry, credentialGate, credentials, now },
      ...(rateLimiterMetrics && { rateLimiterMetrics }),
    }),
  };
}
