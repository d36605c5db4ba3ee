import { grant } from '../../src/core/grant.ts';
import type { HostStore, StoreAuth } from '../../src/core/host-store.ts';
import { Redacted } from '../../src/core/redacted.ts';
import { SecretError } from '../../src/core/errors.ts';
import { formatResult } from './requester.ts';

/** Reads a store as the agent does, and describes what happens. */
export function createHostStoreReader(store: HostStore) {
  const signal = new AbortController().signal;
  const describe = (thrown: unknown): string => {
    if (thrown instanceof SecretError) return `${thrown.code}: ${thrown.summary}`;
    throw thrown;
  };
  return {
    store,
    /** One line for each path; see `formatResult`. Or one line for all: the error. */
    async read(...paths: string[]): Promise<string[]> {
      try {
        const refs = paths.map((path) => store.refFor(path));
        const principal = await store.principal(signal);
        const workload = {
          ...{ tenant: 'shop', identity: { name: 'app' }, instance: 'shop/app', volume: 'v' },
          ...{ tokens: new Map(), secrets: new Map() },
        };
        const requests = refs.map((ref) => ({
          ...{ urgency: 'first' as const, signal, onStart: () => undefined },
          grant: grant({ ref, principal, workload }),
        }));
        const results = await Promise.all(store.fetch(requests));
        return results.map((result, index) => formatResult(paths[index] ?? '', result));
      } catch (thrown) {
        return [describe(thrown)];
      }
    },
    /** `OK`, or the error. */
    check: () => store.check(signal).then(() => 'OK', describe),
    /** The paths, or the error. */
    list: () =>
      store.list!(signal).then((secrets) => secrets.map(({ path }) => path).join(' '), describe),
    principal: () => store.principal(signal),
  };
}

/** `auth` of a store in dso.yaml. */
export function storeAuth(
  method: string,
  params: Readonly<Record<string, string>> = {},
  credentials: Readonly<Record<string, string>> = {},
): StoreAuth {
  return {
    method,
    params: new Map(Object.entries(params)),
    credentials: new Map(
      Object.entries(credentials).map(([name, text]) => [name, new Redacted(text)]),
    ),
  };
}
