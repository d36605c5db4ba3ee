import type { Logger } from 'pino';
import type { BudgetMetrics } from '../../flow/budget-metrics.ts';
import { createRefusals } from '../../flow/refusals.ts';
import { createRetry } from '../../flow/retry.ts';
import type { Http } from '../../http/http.ts';
import type { KubeApi } from '../../kube/api.ts';
import { createNodes } from '../../kube/nodes.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Fingerprint } from '../fingerprint.ts';
import type { Provider } from '../provider.ts';
import { createProving } from '../proving.ts';
import type { SharedIdentity } from '../shared-identity.ts';
import { createAdmit } from './admit.ts';
import { readAwsConfig } from './config.ts';
import { createAwsCredentials } from './credentials.ts';
import { createFacts } from './facts.ts';
import { createAwsFetch } from './fetch.ts';
import type { AwsCredential } from './identity.ts';
import { planAws, type AwsFacts, type AwsLogin } from './parameters.ts';
import { createPrincipals } from './principals.ts';

/** What the provider needs of the process it runs in. */
export type AwsDeps = {
  /** See {@link readAwsConfig}. Keyferry's own identity, where the operator lends it, is found by the SDK in the process. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly http: Http;
  readonly kubeApi: Pick<KubeApi, 'get'>;
  readonly serviceAccounts: ServiceAccounts;
  readonly fingerprint: Fingerprint;
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly budgetMetrics?: BudgetMetrics;
  /** The longest pause before a second attempt, in milliseconds. */
  readonly retryBaseMs?: number;
};

/**
 * Provider `aws`: Secrets Manager and the Parameter Store, for the classes of secrets-store-csi-driver-provider-aws.
 * @throws SecretError NOT_CONFIGURED for a variable that cannot be used
 */
export function createAwsProvider(deps: AwsDeps): Provider<AwsLogin, AwsFacts, AwsCredential> {
  const { env, http, now, log, budgetMetrics, retryBaseMs } = deps;
  const config = readAwsConfig(env);
  const retry = createRetry({
    ...(retryBaseMs !== undefined && { baseMs: retryBaseMs }),
    onFailedAttempt: ({ code }) => budgetMetrics?.failedAttempts.inc({ budget: 'aws', code }),
  });
  const proving = createProving({ refusals: createRefusals({ now }) });
  const { cloud } = config;
  const credentials = createAwsCredentials({
    ...{ config: cloud, http, retry, proving, now },
    onFailure: ({ code, summary }) =>
      log.warn({ provider: 'aws', code, reason: summary }, 'keys not renewed'),
  });
  return {
    name: 'aws',
    facts: createFacts({ config, nodes: createNodes({ api: deps.kubeApi }) }),
    plan: planAws,
    admit: createAdmit({
      ...{ config, now },
      serviceAccounts: deps.serviceAccounts,
      sharedIdentity: deps.sharedIdentity,
      principalIn: createPrincipals({ config, credentials, fingerprint: deps.fingerprint }),
    }),
    fetch: createAwsFetch({
      ...{ config: cloud, http, retry, proving, credentials, now },
      ...(budgetMetrics && { budgetMetrics }),
    }),
  };
}
