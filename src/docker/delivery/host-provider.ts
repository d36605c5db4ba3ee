import type { HostStore } from '../../core/host-store.ts';
import type { Provider } from '../../core/provider.ts';
import { inOneStep } from '../../core/steps.ts';
import { type CheckGrant, createAuthorize } from './authorize.ts';
import type { HostConfig } from './effective-store.ts';
import { type HostPlan, planItems } from './items.ts';

/** What {@link createHostProvider} needs. */
export type HostProviderDeps = {
  /** The name of the provider: differs for each configuration of a store. */
  readonly provider: string;
  /** The name of the store in the host's configuration. */
  readonly name: string;
  readonly store: HostStore;
  readonly isGranted: CheckGrant;
  readonly host: Pick<HostConfig, 'file' | 'isOfUser'>;
};

/** A store of the host, as the pipeline takes it. */
export function createHostProvider(deps: HostProviderDeps): Provider<HostPlan> {
  const { provider, store } = deps;
  return {
    name: provider,
    nodeFacts: async () => undefined,
    plan: (parameters) => inOneStep('normal', () => planItems(parameters, store)),
    authorize: createAuthorize(deps),
    fetch: store.fetch,
    ...(store.renew && { renew: store.renew }),
    ...(store.release && { release: store.release }),
    ...(store.handOver && { handOver: store.handOver }),
    ...(store.takeOver && { takeOver: store.takeOver }),
    ...(store.close && { close: store.close }),
  };
}
