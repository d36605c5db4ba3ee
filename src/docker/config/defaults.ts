import type { StoreConfig } from '../../core/host-store.ts';
import type { DsoConfig } from './types.ts';

/** What the configuration of the host gives to a dso.yaml that names no stores. */
export type HostDefaults = {
  readonly stores: ReadonlyMap<string, StoreConfig>;
  readonly defaultStore?: string | undefined;
  readonly exec: 'on' | 'off';
  readonly runtime: 'on' | 'off';
};

/** A host that gives nothing. */
export const noDefaults: HostDefaults = { stores: new Map(), exec: 'on', runtime: 'off' };

/** How often the agent asks the stores, in milliseconds. */
export const defaultPollingMs = 120_000;

/**
 * What `readDsoConfig` returns for an empty text. Most projects have no dso.yaml, and this needs no
 * parser.
 */
export function emptyConfig({
  stores,
  defaultStore,
  exec,
  runtime,
}: HostDefaults = noDefaults): DsoConfig {
  const [only, ...others] = stores.keys();
  const provider = defaultStore ?? (others.length === 0 ? only : undefined);
  return {
    ...{ providers: stores, secrets: [], exec, runtime },
    defaults: provider === undefined ? {} : { provider },
    agent: { watch: { pollingIntervalMs: defaultPollingMs } },
  };
}
