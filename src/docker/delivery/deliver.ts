import { SecretError, toSecretError, withFallbackFailure } from '../../core/errors.ts';
import type { Grant, Provider } from '../../core/provider.ts';
import type { Workload } from '../../core/workload.ts';
import type { Mount } from '../../mount/mount.ts';
import type { WrittenFile } from '../../mount/volume-writer.ts';
import type { DsoRef } from '../model/reference.ts';
import type { Injection } from '../model/types.ts';
import { filesDirectory } from '../model/volumes.ts';
import { envFile } from '../volume/env-file.ts';
import {
  type EffectiveStore,
  type HostConfig,
  type ProjectStores,
  effectiveStore,
  fallbackOf,
} from './effective-store.ts';
import { type SecretItem, planItems, toParameters } from './items.ts';
import { fallbackVersion, fileKey, variableKey } from './delivery-record.ts';
import type { Stores } from './stores.ts';

/** What a service asks for, and the stores that its project names. */
export type Wanted = {
  readonly injection: Injection;
  readonly stores: ProjectStores;
  /** See {@link Workload}. Default: the service of the Compose application. */
  readonly instance?: string;
};

/** Everything that the containers of a service get, resolved at one time. */
export type Delivery = {
  /** The file of the variables; see env-file.ts. */
  readonly env: Buffer;
  readonly files: readonly WrittenFile[];
  /** By {@link variableKey} and {@link fileKey}. */
  readonly versions: ReadonlyMap<string, string>;
  /** The keys that a mapping gave the whole text, because their secret is no JSON object. */
  readonly wholeTexts: readonly string[];
  /** The stores that did not respond, and for which another one was read. */
  readonly fallbacks: readonly UsedFallback[];
};

/** A store that did not respond, and the one that was read instead. */
export type UsedFallback = {
  readonly store: string;
  readonly fallback: string;
  readonly error: SecretError;
};

/** The unit to which a lease belongs: all containers of a service share one credential. */
export function instanceOf({ project, service }: Pick<Injection, 'project' | 'service'>): string {
  return `${project}/${service}`;
}

/** Bounds the resolution of a service. */
export type DeliverContext = {
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly deadline: number;
  /** See `refresh` of the pipeline's context. */
  readonly refresh?: boolean;
  /**
   * A container starts: the fallback of a store may serve. Without it, an outage would bring other
   * values to containers that run.
   */
  readonly isStart?: boolean;
};

/** What {@link deliver} needs. */
export type DeliverDeps = {
  readonly mount: Mount;
  readonly stores: Stores;
  readonly host: HostConfig;
};

/** Permission bits of a file that asks for no others. See docs/docker/agent.md. */
const defaultMode = 0o444;

/**
 * Resolves all secrets of a service, all or nothing: one mount of the pipeline for each store.
 * @throws SecretError the first failure, in the order in which the service asks for its secrets
 */
export async function deliver(
  { injection, stores: projectStores, instance }: Wanted,
  { isStart = false, ...context }: DeliverContext,
  { mount, stores, host }: DeliverDeps,
): Promise<Delivery> {
  const fallbacks: UsedFallback[] = [];
  const read = async (store: EffectiveStore, items: readonly SecretItem[]) => {
    await stores.open(store);
    return mount(
      {
        workload: workloadOf(injection, store.provider, instance),
        parameters: toParameters(items),
        permission: defaultMode,
      },
      { provider: store.provider, ...context },
    );
  };
  const groups = groupByStore(injection, (ref) =>
    effectiveStore(ref.provider, projectStores, host),
  );
  const volumes = await Promise.allSettled(
    groups.map(async ({ store, items }) => {
      try {
        return await read(store, items);
      } catch (thrown) {
        const error = toSecretError(thrown);
        const fallback = isStart && error.kind === 'outage' ? fallbackOf(store, host) : undefined;
        if (fallback === undefined) throw error;
        const { files, versions: found } = await read(fallback, items).catch((second: unknown) => {
          throw withFallbackFailure(error, toSecretError(second), `the fallback ${fallback.name}`);
        });
        fallbacks.push({ store: store.name, fallback: fallback.name, error });
        const marked = found.map(({ id, version }) => ({
          id,
          version: fallbackVersion(version, fallback.name),
        }));
        return { files, versions: marked };
      }
    }),
  );
  const contents = new Map<string, Uint8Array>();
  const versions = new Map<string, string>();
  const wholeTexts: string[] = [];
  for (const volume of volumes) {
    if (volume.status === 'rejected') throw toSecretError(volume.reason);
    for (const { path, contents: bytes } of volume.value.files) contents.set(path, bytes);
    for (const { id, version } of volume.value.versions)
      if (!id.startsWith(wholePrefix)) versions.set(id, version);
  }
  const contentOf = (key: string): Uint8Array => {
    const found = contents.get(key);
    if (found !== undefined) return found;
    throw new SecretError('INTERNAL', `the mount has no file ${key}`);
  };
  const variables = new Map([
    ...injection.variables.map(({ name }) => [name, contentOf(variableKey(name))] as const),
    ...injection.files.flatMap(({ variable, path }) =>
      variable === undefined ? [] : [[variable, Buffer.from(`${filesDirectory}/${path}`)] as const],
    ),
  ]);
  const files = injection.files.map(({ path, mode = defaultMode, uid, gid }) => ({
    ...{ path, mode, uid, gid, contents: contentOf(fileKey(path)) },
  }));
  for (const key of versions.keys()) {
    const whole = contents.get(wholePrefix + key);
    if (whole !== undefined && Buffer.compare(whole, contentOf(key)) === 0) wholeTexts.push(key);
  }
  return { env: envFile(variables), files, versions, wholeTexts, fallbacks };
}

/** The grants of a service for one store. */
export type StoreGrants = { readonly provider: Provider; readonly grants: readonly Grant[] };

/**
 * The grants with which {@link deliver} reads the secrets of a service. It reads none.
 * @throws SecretError if the host does not allow one of them
 */
export async function grantsOf(
  { injection, stores: projectStores }: Wanted,
  signal: AbortSignal,
  { stores, host }: Pick<DeliverDeps, 'stores' | 'host'>,
): Promise<readonly StoreGrants[]> {
  const groups = groupByStore(injection, (ref) =>
    effectiveStore(ref.provider, projectStores, host),
  );
  return Promise.all(
    groups.map(async ({ store, items }) => {
      const { store: opened, provider } = await stores.open(store);
      const { plan, problems } = planItems(toParameters(items), opened);
      if (plan === undefined)
        throw new SecretError('INVALID_CLASS', problems[0]?.message ?? 'there is no plan');
      const workload = workloadOf(injection, store.provider);
      return {
        provider,
        grants: await provider.authorize(workload, plan, { signal, notBefore: 0 }),
      };
    }),
  );
}

/** Before the key of a mapping: its whole secret, for {@link Delivery.wholeTexts}. */
const wholePrefix = 'whole/';

type Group = { readonly store: EffectiveStore; readonly items: SecretItem[] };

function groupByStore(
  { variables, files }: Injection,
  storeOf: (ref: DsoRef) => Group['store'],
): readonly Group[] {
  const groups = new Map<string, Group>();
  const add = (file: string, ref: DsoRef): void => {
    const store = storeOf(ref);
    const group = groups.get(store.provider) ?? { store, items: [] };
    groups.set(store.provider, group);
    const { path, field, orWhole } = ref;
    group.items.push({
      ...{ file, path },
      ...(field !== undefined && { field }),
      ...(orWhole && { orWhole }),
    });
    if (orWhole === true) group.items.push({ file: wholePrefix + file, path, orWhole });
  };
  for (const { name, ref } of variables) add(variableKey(name), ref);
  const paths = new Set<string>();
  for (const { path, ref } of files) {
    // Several variables can name one file.
    if (!paths.has(path)) add(fileKey(path), ref);
    paths.add(path);
  }
  return [...groups.values()];
}

function workloadOf(
  injection: Injection,
  provider: string,
  instance = instanceOf(injection),
): Workload {
  return {
    tenant: injection.project,
    identity: { name: injection.service },
    instance,
    volume: `${provider}:${instance}`,
    className: injection.service,
    tokens: new Map(),
    secrets: new Map(),
  };
}
