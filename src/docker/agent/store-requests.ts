import type { RefreshRequest, RefreshResult, StoreCheck, StoreSecret } from '../agent-api.ts';
import { checkStore } from '../delivery/check-store.ts';
import { instanceOf } from '../delivery/deliver.ts';
import {
  type EffectiveStore,
  type HostConfig,
  effectiveStore,
} from '../delivery/effective-store.ts';
import { versionIn } from '../delivery/delivery-record.ts';
import { listSecrets } from '../delivery/host-requests.ts';
import type { RequestLimits } from './request-limits.ts';
import type { ServiceMounts } from './service-mounts.ts';
import { keysFrom } from '../delivery/store-names.ts';
import type { Stores } from '../delivery/stores.ts';

/** What {@link StoreRequests} needs. */
export type StoreRequestsDeps = {
  readonly host: HostConfig;
  readonly stores: Stores;
  /** All services that the agent knows. */
  readonly services: () => readonly ServiceMounts[];
  readonly limits: RequestLimits;
  /** Rotates a service if it needs that. @returns whether it does */
  readonly rotate: (service: ServiceMounts) => boolean;
};

const requestMs = 60_000;
const refreshMs = 110_000;

/** What `docker dso` asks of the stores of the host: their secrets, a check, a new read. */
export class StoreRequests {
  readonly #deps: StoreRequestsDeps;

  constructor(deps: StoreRequestsDeps) {
    this.#deps = deps;
  }

  /** @throws SecretError, as all methods */
  async list(name: string, signal: AbortSignal): Promise<readonly StoreSecret[]> {
    const { stores, host, limits } = this.#deps;
    const services = this.#deps.services();
    return limits.run(requestMs, signal, (context) =>
      listSecrets({ name, stores, host, services }, context.signal),
    );
  }

  async check(name: string, signal: AbortSignal): Promise<StoreCheck> {
    const { stores, limits } = this.#deps;
    const { store } = await stores.open(this.#storeOfHost(name));
    return limits.run(requestMs, signal, (context) => checkStore(store, context.signal));
  }

  /** Reads a secret again for all services with containers. */
  async refresh({ store, path }: RefreshRequest, signal: AbortSignal): Promise<RefreshResult> {
    const { host, limits, rotate } = this.#deps;
    const { name } = this.#storeOfHost(store);
    const users = this.#usersOf(name, path).filter(({ isInUse }) => isInUse);
    const services: RefreshResult['services'][number][] = [];
    let version: string | undefined;
    for (const mounts of users) {
      await limits.run(refreshMs, signal, (context) =>
        mounts.refresh({ ...context, refresh: true }),
      );
      const keys = keysFrom(mounts, { store: name, path }, host);
      for (const key of keys) version ??= versionIn(mounts.current, key);
      services.push({
        name: instanceOf(mounts.wanted.injection),
        changed: mounts.hasChanged(keys),
        rotates: rotate(mounts),
      });
    }
    return { store: name, ...(version !== undefined && { version }), services };
  }

  #storeOfHost(name: string | undefined): EffectiveStore {
    return effectiveStore(name, {}, this.#deps.host);
  }

  #usersOf(store: string, path: string): readonly ServiceMounts[] {
    const { services, host } = this.#deps;
    return services().filter((mounts) => keysFrom(mounts, { store, path }, host).length > 0);
  }
}
