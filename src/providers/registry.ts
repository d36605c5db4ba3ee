import type { Settings } from '../config/settings.ts';
import type { RateLimiterMetrics } from '../concurrency/rate-limiter.ts';
import type { KubeApi } from '../kube/api.ts';
import type { ServiceAccounts } from '../kube/service-accounts.ts';
import type { Provider } from '../core/provider.ts';
import type { ProviderDeps } from './shared/deps.ts';
import type { SharedIdentity } from './shared/identity/shared-identity.ts';

/** What the process gives to a provider. */
export type ProviderContext = ProviderDeps & {
  readonly rateLimiterMetrics: RateLimiterMetrics;
  readonly settings: Settings;
  readonly kubeApi: KubeApi;
  readonly serviceAccounts: ServiceAccounts;
  readonly sharedIdentity: SharedIdentity;
};

/** A provider that is not loaded yet. */
export type ProviderEntry = {
  /**
   * How long the cache serves a version that can change before it reads it again, in milliseconds.
   * `--refresh-interval` overrides it.
   */
  readonly refreshInterval: number;
  /** Loads only the code that compiles classes: lint makes no calls. */
  readonly plan: () => Promise<Provider['plan']>;
  /** Loads the code of the provider and makes the provider. */
  readonly create: (context: ProviderContext) => Promise<Provider>;
};

function vault(dialect: 'vault' | 'openbao'): ProviderEntry {
  return {
    refreshInterval: 30_000,
    plan: async () => (await import('./vault/class/class.ts')).planVault(dialect),
    create: async (context) => {
      const { createVaultProvider } = await import('./vault/index.ts');
      return createVaultProvider(dialect, context);
    },
  };
}

/** All values of `spec.provider`. Each provider is loaded when the process serves it. */
export const providers: Readonly<Record<string, ProviderEntry>> = {
  alibabacloud: {
    refreshInterval: 30_000,
    plan: async () => (await import('./alibabacloud/class/parameters.ts')).planAlibaba,
    create: async (context) => {
      const { createAlibabaProvider } = await import('./alibabacloud/index.ts');
      return createAlibabaProvider(context);
    },
  },
  aws: {
    refreshInterval: 30_000,
    plan: async () => (await import('./aws/class/parameters.ts')).planAws,
    create: async (context) => {
      const { createAwsProvider } = await import('./aws/index.ts');
      return createAwsProvider(context);
    },
  },
  cce: {
    refreshInterval: 120_000,
    plan: async () => (await import('./cce/class.ts')).planCce,
    create: async (context) => {
      const { createCceProvider } = await import('./cce/index.ts');
      return createCceProvider(context);
    },
  },
  local: {
    refreshInterval: 30_000,
    plan: async () => (await import('./local/class.ts')).planLocal,
    create: async (context) => {
      const { createLocalProvider } = await import('./local/index.ts');
      const { localStore: storeFile, localKey: keyFile } = context.settings;
      return createLocalProvider({ ...context, storeFile, keyFile });
    },
  },
  openbao: vault('openbao'),
  vault: vault('vault'),
};
