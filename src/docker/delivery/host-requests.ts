import { SecretError } from '../../core/errors.ts';
import type { AgentInfo, ProjectRegistration, StoreSecret } from '../agent-api.ts';
import type { DsoConfig } from '../config/types.ts';
import { type Wanted, instanceOf } from './deliver.ts';
import { type HostConfig, effectiveStore } from './effective-store.ts';
import { keysFrom } from './store-names.ts';
import type { Stores } from './stores.ts';

/** A host's configuration as a whole. */
export type WholeHostConfig = HostConfig & { readonly config: DsoConfig };

/** What a host's configuration says. */
export function describeHost(version: string, { file, config }: WholeHostConfig): AgentInfo {
  const { providers, defaults, exec, runtime, agent } = config;
  return {
    ...{ version, configFile: file, exec, runtime },
    stores: Array.from(providers, ([name, { type, region, addresses, auth }]) => ({
      ...{ name, type },
      ...(region !== undefined && { region }),
      ...(addresses?.[0] !== undefined && { address: addresses[0] }),
      ...(auth !== undefined && { authMethod: auth.method }),
    })),
    ...(defaults.provider !== undefined && { defaultStore: defaults.provider }),
    pollingIntervalMs: agent.watch.pollingIntervalMs,
    hasGrants: agent.grants !== undefined,
  };
}

/**
 * Refuses a project whose stores or paths cannot be, before its containers start.
 * @throws SecretError
 */
export async function checkReferences(
  { services, stores: projectStores }: ProjectRegistration,
  stores: Stores,
  host: HostConfig,
): Promise<void> {
  for (const { variables, files } of services)
    for (const { ref } of [...variables, ...files]) {
      const { store } = await stores.open(effectiveStore(ref.provider, projectStores, host));
      store.refFor(ref.path);
    }
}

/** What {@link listSecrets} reads. */
export type ListInput = {
  /** The name of a store of the host. */
  readonly name: string;
  readonly stores: Stores;
  readonly host: HostConfig;
  /** The services that can use it. */
  readonly services: readonly { readonly wanted: Wanted }[];
};

/**
 * The secrets of a store, and who uses them.
 * @throws SecretError INVALID_REQUEST if the store cannot list them
 */
export async function listSecrets(
  { name, stores, host, services }: ListInput,
  signal: AbortSignal,
): Promise<readonly StoreSecret[]> {
  const { store } = await stores.open(effectiveStore(name, {}, host));
  const listed = await store.list?.(signal);
  if (listed === undefined)
    throw new SecretError('INVALID_REQUEST', `the store ${name} cannot list its secrets`, {
      hint: 'use the tools of the store',
    });
  return listed.map((secret) => ({
    ...secret,
    usedBy: services
      .filter((service) => keysFrom(service, { store: name, path: secret.path }, host).length > 0)
      .map(({ wanted }) => instanceOf(wanted.injection)),
  }));
}
