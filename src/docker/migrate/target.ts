import { readFile } from 'node:fs/promises';
import { SecretError } from '../../core/errors.ts';
import type { StoreConfig, StoreType } from '../../core/host-store.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { nearestName } from '../../formats/suggest.ts';
import type { Environment } from '../compose/docker.ts';
import { readDsoConfig } from '../config/read.ts';
import type { DsoConfig } from '../config/types.ts';
import { userConfigFile } from '../local/user-places.ts';

/** What a user says about the store. */
export type StoreChoice = {
  /** Default: the type of the store that references mean in the project's dso.yaml, or `local`. */
  readonly provider?: StoreType | undefined;
  /** Its name in dso.yaml. */
  readonly store?: string | undefined;
};

/** The store that gets the values. */
export type ChosenStore = {
  readonly type: StoreType;
  /** Its name, if references must have it. */
  readonly store?: string;
  /** What the host's configuration says about it. Absent: it has no such store. */
  readonly config?: StoreConfig;
};

/**
 * Finds the store as references do: among those of the project's dso.yaml or, if it names none,
 * among those of the host.
 * @param project the project's dso.yaml
 * @throws SecretError INVALID_REQUEST if there is no such store, or if there are several
 */
export function chooseStore(
  { provider: given, store }: StoreChoice,
  project: DsoConfig | undefined,
  host: DsoConfig | undefined,
): ChosenStore {
  const isOfProject = (project?.providers.size ?? 0) > 0;
  const provider = given ?? defaultType(project) ?? 'local';
  const { providers, defaults } = (isOfProject ? project : host) ?? { providers: new Map() };
  const names = [...(providers as DsoConfig['providers'])]
    .filter(([, { type }]) => type === provider)
    .map(([name]) => name);
  if (store !== undefined && !names.includes(store) && (isOfProject || names.length > 0)) {
    const nearest = nearestName(store, names);
    throw new SecretError(
      'INVALID_REQUEST',
      `there is no store ${sanitizeUserText(store)} of the type ${provider}`,
      { hint: nearest === undefined ? 'check --store and --provider' : `did you mean ${nearest}?` },
    );
  }
  if (store === undefined && names.length > 1)
    throw new SecretError('INVALID_REQUEST', `there are several stores of the type ${provider}`, {
      hint: `name one of them: --store ${names.map(sanitizeUserText).join(' or --store ')}`,
    });
  const name = store ?? names[0];
  if (name === undefined && isOfProject)
    throw new SecretError('INVALID_REQUEST', `dso.yaml names no store of the type ${provider}`, {
      hint: 'add it to dso.yaml, or give --provider with the type of one of its stores',
    });
  if (name === undefined) return { type: provider };
  const config = host?.providers.get(name);
  const isDefault = defaults?.provider === name || providers.size === 0;
  return {
    type: provider,
    ...(!isDefault && { store: name }),
    ...(config?.type === provider && { config }),
  };
}

function defaultType(config: DsoConfig | undefined): StoreType | undefined {
  return config?.providers.get(config.defaults.provider ?? '')?.type;
}

/** The stores of this user. Undefined if the file cannot be read or has faults. */
export async function readHostStores(
  env: Environment,
  userId: number | undefined,
): Promise<DsoConfig | undefined> {
  const file = userConfigFile(env, userId);
  const text = await readFile(file, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : readDsoConfig(text, file).config;
}
