import type { DsoRef } from '../model/reference.ts';
import { type Wanted } from './deliver.ts';
import { fileKey, variableKey } from './delivery-record.ts';
import { type HostConfig, effectiveStore } from './effective-store.ts';

/** A service, by what it asks for. */
type Asking = { readonly wanted: Wanted };

/** The name that the host's configuration has for the store of a service's reference. */
export function storeNameOf({ wanted }: Asking, { provider }: DsoRef, host: HostConfig): string {
  try {
    return effectiveStore(provider, wanted.stores, host).name;
  } catch {
    // The configuration has changed since.
    return provider ?? '';
  }
}

/** The keys of what a service has from a secret of a store; empty if it does not use it. */
export function keysFrom(
  service: Asking,
  secret: { readonly store: string; readonly path: string },
  host: HostConfig,
): readonly string[] {
  const { variables, files } = service.wanted.injection;
  const isFrom = (ref: DsoRef): boolean =>
    ref.path === secret.path && storeNameOf(service, ref, host) === secret.store;
  return [
    ...variables.filter(({ ref }) => isFrom(ref)).map(({ name }) => variableKey(name)),
    ...files.filter(({ ref }) => isFrom(ref)).map((file) => fileKey(file.path)),
  ];
}
