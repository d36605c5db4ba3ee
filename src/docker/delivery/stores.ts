import { SecretError } from '../../core/errors.ts';
import type { HostStore, StoreConfig } from '../../core/host-store.ts';
import type { Provider } from '../../core/provider.ts';
import type { CheckGrant } from './authorize.ts';
import type { EffectiveStore, HostConfig } from './effective-store.ts';
import { createHostProvider } from './host-provider.ts';

/** Opens a store. It makes no calls. @throws SecretError NOT_CONFIGURED */
export type OpenStore = (config: StoreConfig, name: string) => Promise<HostStore>;

/** A store that is open, and its provider for the pipeline. */
export type OpenedStore = { readonly store: HostStore; readonly provider: Provider };

/** What {@link Stores} needs. */
export type StoresDeps = {
  readonly openStore: OpenStore;
  readonly isGranted: CheckGrant;
  readonly host: Pick<HostConfig, 'file' | 'isOfUser'>;
};

/** Each project can choose regions and namespaces of its own. */
const maxStores = 100;

/** The stores that are open. Each is opened at its first use, and stays open. */
export class Stores {
  /** For the pipeline: the providers of the open stores, by name. */
  readonly providers = new Map<string, Provider>();
  readonly #opened = new Map<string, Promise<OpenedStore>>();
  readonly #deps: StoresDeps;

  constructor(deps: StoresDeps) {
    this.#deps = deps;
  }

  /** @throws SecretError NOT_CONFIGURED; OVERLOADED if too many are open */
  open(effective: EffectiveStore): Promise<OpenedStore> {
    const { provider } = effective;
    let opened = this.#opened.get(provider);
    if (opened === undefined) {
      if (this.#opened.size >= maxStores) throw tooManyStores();
      opened = this.#open(effective);
      this.#opened.set(provider, opened);
      opened.catch(() => this.#opened.delete(provider));
    }
    return opened;
  }

  async close(signal: AbortSignal): Promise<void> {
    await Promise.allSettled(
      [...this.providers.values()].map(async (each) => each.close?.(signal)),
    );
  }

  async #open({ provider: providerName, name, config }: EffectiveStore): Promise<OpenedStore> {
    const { openStore, isGranted, host } = this.#deps;
    const store = await openStore(config, name);
    const provider = createHostProvider({
      ...{ provider: providerName, name, store, isGranted, host },
    }) as Provider;
    this.providers.set(providerName, provider);
    return { store, provider };
  }
}

function tooManyStores(): SecretError {
  return new SecretError(
    'OVERLOADED',
    `the projects of this host use more than ${maxStores} different regions and namespaces of stores`,
    { hint: 'restart the agent, which forgets those that are no longer used' },
  );
}
