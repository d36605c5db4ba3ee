import { createRefusals } from '../../flow/refusals.ts';
import type { KubeApi } from '../../kube/api.ts';
import { createTokenRequests } from '../../kube/token-requests.ts';
import type { Provider } from '../provider.ts';
import type { ProviderDeps } from '../provider-deps.ts';
import { createProviderRetry } from '../provider-retry.ts';
import { createProving } from '../proving.ts';
import type { SharedIdentity } from '../shared-identity.ts';
import { createAdmit } from './admit.ts';
import { createVaultApi } from './api.ts';
import { readVaultConfig } from './config.ts';
import type { VaultFacts } from './facts.ts';
import { createVaultFetch } from './fetch.ts';
import type { VaultSession } from './identity.ts';
import type { VaultLogin } from './login.ts';
import { planVault } from './parameters.ts';
import { createPodTokens } from './pod-tokens.ts';
import { createPrincipals } from './principals.ts';
import { createVaultTokens } from './tokens.ts';

/** What the provider needs of the process it runs in. */
export type VaultDeps = ProviderDeps & {
  readonly kubeApi: KubeApi;
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
};

/**
 * Providers `vault` and `openbao`: whatever HashiCorp Vault or OpenBao serve by a path, for the classes of vault-csi-provider and openbao-csi-provider.
 * @throws SecretError NOT_CONFIGURED for a variable that cannot be used
 */
export function createVaultProvider(
  dialect: VaultLogin['dialect'],
  deps: VaultDeps,
): Provider<VaultLogin, VaultFacts, VaultSession> {
  const { http, now, log, budgetMetrics } = deps;
  const settings = readVaultConfig(dialect, deps.env);
  const retry = createProviderRetry(dialect, deps);
  const api = createVaultApi({ http, retry, now, log });
  const proving = createProving({ refusals: createRefusals({ now }) });
  const tokens = createVaultTokens({ api, proving, now, log });
  const reads = createVaultFetch({
    ...{ api, tokens, config: settings, now, log },
    ...(budgetMetrics && { budgetMetrics }),
  });
  const requests = settings.tokenRequests ? createTokenRequests({ api: deps.kubeApi, now }) : undefined;
  return {
    name: dialect,
    facts: () => Promise.resolve(settings.facts),
    plan: planVault(dialect),
    admit: createAdmit({
      settings,
      podTokens: createPodTokens({ requests, now }),
      sharedIdentity: deps.sharedIdentity,
      principalOf: createPrincipals({ tokens, fingerprint: deps.fingerprint }),
    }),
    ...reads,
    async close(signal) {
      reads.close();
      await tokens.close(signal);
    },
  };
}
