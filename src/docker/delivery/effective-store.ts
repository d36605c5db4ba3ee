import { SecretError } from '../../core/errors.ts';
import type { StoreConfig, StoreType } from '../../core/host-store.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { ProjectStore } from '../agent-api.ts';
import type { DsoConfig } from '../config/types.ts';

/** The stores that the dso.yaml of a project names, by name. */
export type ProjectStores = Readonly<Record<string, ProjectStore>>;

/** The store that a reference is read from. */
export type EffectiveStore = {
  /** Its name in the host's configuration. */
  readonly name: string;
  /** The name of its provider: two are equal only if they read the same store. */
  readonly provider: string;
  readonly config: StoreConfig;
};

/** The configuration of a host, or in local mode of a user, and where it is. */
export type HostConfig = {
  readonly file: string;
  readonly config: Pick<DsoConfig, 'providers' | 'defaults'>;
  /** Whether each command reads the file. Default: the agent reads it at its start. */
  readonly isOfUser?: boolean;
};

/** A remedy that changes the configuration, with what must follow. */
export function remedyIn({ isOfUser = false }: Pick<HostConfig, 'isOfUser'>, change: string) {
  return isOfUser ? change : `${change}, and restart the agent`;
}

/** Clouds that know the machine they run on: they need no configuration. */
const ambientTypes: readonly StoreType[] = ['huawei', 'aws', 'alibabacloud'];

/**
 * The store of a reference. The host decides where it is and which identity reads it. A project
 * chooses among the host's stores and, within one, region, project and namespace.
 * @param provider as in the reference; undefined: the default store
 * @throws SecretError NOT_CONFIGURED if the host has no such store; NOT_GRANTED if the project
 *   names another address, endpoint or role than the host
 */
export function effectiveStore(
  provider: string | undefined,
  projectStores: ProjectStores,
  host: HostConfig,
): EffectiveStore {
  const isOfProject = provider !== undefined && Object.hasOwn(projectStores, provider);
  const wanted = isOfProject ? projectStores[provider] : undefined;
  if (provider === undefined || wanted === undefined) return storeOfHost(provider, host);
  const base = findBase(provider, wanted.type, host);
  checkPlace(provider, wanted, base, host.file);
  const chosen = {
    region: wanted.region ?? base.config.region,
    projectId: wanted.projectId ?? base.config.projectId,
    namespace: wanted.namespace ?? base.config.namespace,
  };
  const differences = (['region', 'projectId', 'namespace'] as const)
    .filter((key) => chosen[key] !== base.config[key])
    .map((key) => ` ${key}=${chosen[key] ?? ''}`);
  return {
    name: base.name,
    provider: base.provider + differences.join(''),
    config: { ...base.config, ...chosen },
  };
}

function storeOfHost(name: string | undefined, host: HostConfig): EffectiveStore {
  const { providers, defaults } = host.config;
  const chosen = name ?? defaults.provider;
  const config = chosen === undefined ? undefined : providers.get(chosen);
  if (chosen !== undefined && config !== undefined)
    return { name: chosen, provider: chosen, config };
  const hostFile = sanitizeUserText(host.file);
  if (providers.size === 0)
    throw new SecretError('NOT_CONFIGURED', `${hostFile} names no store to read secrets from`, {
      hint: remedyIn(host, 'run docker dso init on this host'),
    });
  const names = [...providers.keys()].join(', ');
  if (chosen === undefined)
    throw new SecretError(
      'NOT_CONFIGURED',
      `the reference names no store, and ${hostFile} has several: ${names}`,
      { hint: 'write dso://STORE/path, or defaults.provider in that file' },
    );
  throw new SecretError(
    'NOT_CONFIGURED',
    `${hostFile} has no store ${sanitizeUserText(chosen)}; it has ${names}`,
    { hint: remedyIn(host, 'use one of these names, or add the store there') },
  );
}

/** The store that is read when this one does not respond; undefined if the host names none. */
export function fallbackOf(
  { config: { fallback } }: EffectiveStore,
  host: HostConfig,
): EffectiveStore | undefined {
  return fallback === undefined ? undefined : storeOfHost(fallback, host);
}

/** The host's store of that name, else its only one of that type, else that of the machine. */
function findBase(
  name: string,
  type: StoreType,
  { config: { providers }, file }: HostConfig,
): EffectiveStore {
  const own = providers.get(name);
  if (own?.type === type) return { name, provider: name, config: own };
  const ofType = [...providers].filter(([, config]) => config.type === type);
  const [first] = ofType;
  if (first !== undefined && ofType.length === 1)
    return { name: first[0], provider: first[0], config: first[1] };
  const hostFile = sanitizeUserText(file);
  if (first !== undefined)
    throw new SecretError(
      'NOT_CONFIGURED',
      `${hostFile} has several stores of type ${type}, and none is named ${sanitizeUserText(name)}`,
      { hint: `name the store as the host does: ${ofType.map(([each]) => each).join(', ')}` },
    );
  if (ambientTypes.includes(type))
    return { name: type, provider: `${type} here`, config: { type } };
  throw new SecretError(
    'NOT_CONFIGURED',
    `${hostFile} has no store of type ${type} for ${sanitizeUserText(name)}`,
    { hint: 'run docker dso init on this host, or add the store to that file' },
  );
}

/** A project must not send the identity of the host to another place. */
function checkPlace(
  name: string,
  wanted: ProjectStore,
  { config }: { readonly config: StoreConfig },
  file: string,
): void {
  const others = (['endpoint', 'roleArn', 'tlsServerName'] as const).filter(
    (key) => wanted[key] !== undefined && wanted[key] !== config[key],
  );
  const known = config.addresses ?? [];
  const isElsewhere = wanted.addresses?.some((address) => !known.includes(address)) === true;
  const [what] = [...others, ...(isElsewhere ? ['addresses' as const] : [])];
  if (what === undefined) return;
  throw new SecretError(
    'NOT_GRANTED',
    `the project gives the store ${sanitizeUserText(name)} other ${what} than this host has`,
    {
      hint: `add the store to ${sanitizeUserText(file)}, or remove ${what} from the project's dso.yaml`,
    },
  );
}
