import { createRefusals } from '../../concurrency/rejection-cache.ts';
import type { KubeApi } from '../../kube/api.ts';
import { createTokenRequests } from '../../kube/token-requests.ts';
import type { Provider } from '../../core/provider.ts';
import type { ProviderDeps } from '../shared/deps.ts';
import { createProviderRetry } from '../shared/deps.ts';
import { createProving } from '../shared/credentials/credential-gate.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { createAdmit } from './authorize.ts';
import { createVaultApi } from './client/client.ts';
import { readVaultConfig } from './config.ts';
import type { VaultFacts } from './types.ts';
import { createVaultFetch } from './reads/fetch.ts';
import type { VaultSession } from './types.ts';
import type { VaultLogin } from './types.ts';
import { planVault } from './class/class.ts';
import { createPodTokens } from './auth/pod-tokens.ts';
import { createPrincipals } from './auth/principals.ts';
import { createVaultTokens } from './auth/token-manager.ts';

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
