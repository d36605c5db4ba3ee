import { RejectionCache } from '../../concurrency/rejection-cache.ts';
import type { Provider } from '../../core/provider.ts';
import { CredentialGate } from '../shared/credentials/credential-gate.ts';
import { type ProviderDeps, createProviderRetry } from '../shared/deps.ts';
import { VaultClient } from './call/api.ts';
import type { VaultRateLimits } from './config.ts';
import { VaultTokenManager } from './credentials/token-manager.ts';
import { createFetch } from './fetch.ts';
import { VaultLeases } from './leases.ts';
import type { VaultLogin, VaultSession } from './types.ts';

/** What reads Vault, for every kind of login. */
export type VaultOperations = {
  readonly api: VaultClient;
  readonly tokens: VaultTokenManager;
  readonly operations: Required<
    Pick<
      Provider<unknown, unknown, VaultSession>,
      'fetch' | 'renew' | 'release' | 'handOver' | 'takeOver' | 'close'
    >
  >;
};

/** Makes the client, the tokens and the leases of a process. */
export function createVaultOperations(
  dialect: VaultLogin['dialect'],
  deps: ProviderDeps & { readonly rateLimits: VaultRateLimits },
): VaultOperations {
  const { http, now, log, rateLimits, rateLimiterMetrics } = deps;
  const retry = createProviderRetry(dialect, deps);
  const api = new VaultClient({ http, retry, now, log });
  const credentialGate = new CredentialGate({ rejectionCache: new RejectionCache({ now }), now });
  const tokens = new VaultTokenManager({ api, credentialGate, now, log });
  const leases = new VaultLeases({ api, tokens, now, log });
  return {
    api,
    tokens,
    operations: {
      fetch: createFetch({
        ...{ api, tokens, leases, rateLimits, now },
        ...(rateLimiterMetrics && { rateLimiterMetrics }),
      }),
      renew: (grant, lease, signal) => leases.renew(grant, lease, signal),
      release: (grant, lease, signal) => leases.release(grant, lease, signal),
      handOver: (grant, lease) => leases.handOver(grant, lease),
      takeOver: (grant, lease, handedOver) => leases.takeOver(grant, lease, handedOver),
      async close(signal) {
        leases.close();
        await tokens.close(signal);
      },
    },
  };
}
