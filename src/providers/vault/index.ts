import type { KubeApi } from '../../kube/api.ts';
import { TokenRequests } from '../../kube/token-requests.ts';
import type { Provider } from '../../core/provider.ts';
import type { ProviderDeps } from '../shared/deps.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { createAuthorize } from './authorize.ts';
import { planVault } from './class/class.ts';
import { readVaultSettings } from './config.ts';
import { createPodTokens } from './credentials/pod-tokens.ts';
import { createVaultOperations } from './operations.ts';
import { createPrincipalOf } from './principals.ts';
import type { VaultLogin, VaultNodeFacts, VaultSession } from './types.ts';

/** What the provider needs of the process it runs in. */
export type VaultDeps = ProviderDeps & {
  readonly kubeApi: KubeApi;
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
};

/**
 * Providers `vault` and `openbao`: everything that HashiCorp Vault or OpenBao serves by a path, for
 * the classes of vault-csi-provider and openbao-csi-provider.
 * @throws SecretError NOT_CONFIGURED for a variable that cannot be used
 */
export function createVaultProvider(
  dialect: VaultLogin['dialect'],
  deps: VaultDeps,
): Provider<VaultLogin, VaultNodeFacts, VaultSession> {
  const { now } = deps;
  const settings = readVaultSettings(dialect, deps.env);
  const { tokens, operations } = createVaultOperations(dialect, { ...deps, rateLimits: settings });
  const tokenRequests = settings.tokenRequests
    ? new TokenRequests({ api: deps.kubeApi, now })
    : undefined;
  return {
    name: dialect,
    nodeFacts: () => Promise.resolve(settings.nodeFacts),
    plan: planVault(dialect),
    authorize: createAuthorize({
      settings,
      podTokens: createPodTokens({ requests: tokenRequests, now }),
      sharedIdentity: deps.sharedIdentity,
      principalOf: createPrincipalOf({ tokens, fingerprint: deps.fingerprint }),
    }),
    ...operations,
  };
}
