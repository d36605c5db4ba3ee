import type { HostStore, StoreConfig, StoreType } from '../core/host-store.ts';
import { withSecretKey } from './shared/credentials/secret-key-file.ts';
import type { ProviderDeps } from './shared/deps.ts';

/** What a host store gets from the process. */
export type HostStoreContext = ProviderDeps & {
  /** The store's name in dso.yaml, for messages and metrics. */
  readonly name: string;
};

/** Opens a store. It makes no calls. @throws SecretError NOT_CONFIGURED */
export type OpenHostStore = (config: StoreConfig, context: HostStoreContext) => Promise<HostStore>;

const defaultStoreFile = '/var/lib/keyferry/store.age';
const defaultKeyFile = '/var/lib/keyferry/store.key';

/** The stores that a host without Kubernetes can read. Their code is loaded on first use. */
export const hostStores: Readonly<Record<StoreType, OpenHostStore>> = {
  alibabacloud: async (config, context) => {
    const { createAlibabaHostStore } = await import('./alibabacloud/host.ts');
    return createAlibabaHostStore(config, context);
  },
  aws: async (config, context) => {
    const { createAwsHostStore } = await import('./aws/host.ts');
    return createAwsHostStore(config, context);
  },
  huawei: async (config, context) => {
    const { createHuaweiHostStore } = await import('./cce/host.ts');
    return createHuaweiHostStore(config, context);
  },
  local: async ({ storeFile = defaultStoreFile, keyFile = defaultKeyFile }, context) => {
    const { createLocalHostStore } = await import('./local/host.ts');
    return createLocalHostStore({ ...context, storeFile, keyFile });
  },
  openbao: openVault('openbao'),
  vault: openVault('vault'),
};

function openVault(dialect: 'vault' | 'openbao'): OpenHostStore {
  return async (config, context) => {
    const { createVaultHostStore } = await import('./vault/host.ts');
    return createVaultHostStore(dialect, config, context);
  };
}

/** Where a local store is if its configuration does not say. */
export const defaultLocalPaths = { storeFile: defaultStoreFile, keyFile: defaultKeyFile };

/** Opens a store of any type, with what its configuration has in files. */
export const openHostStore: OpenHostStore = async (config, context) =>
  hostStores[config.type](await withSecretKey(config), context);
