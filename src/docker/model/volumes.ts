import { posix } from 'node:path';
import type { JsonValue } from '../../formats/json.ts';
import { type JsonObject, listOf, modelText, objectOf, plainText } from './compose-model.ts';
import type { Injection } from './types.ts';

/** Where the shim and the variables are in a container. */
export const secretsDirectory = '/run/dso';
/**
 * The label of a container that has a digest of its references. Compose makes a container again if
 * its labels change. So a service with another reference starts with the other secret at the next
 * `up`.
 */
export const referencesLabel = 'dso.references';
/** Where the files of `dsofile://` are in a container. */
export const filesDirectory = '/run/secrets/dso';

/** Where the shim is, and the programs that it stands in for. */
export const shimDirectory = `${secretsDirectory}/bin`;
/** What stands before a program that is to see the secrets. */
export const shimWords = [`${shimDirectory}/dso-shim`, '--'] as const;

/** Names of projects, as Compose has them, and of services. Those of volumes are made of both. */
export const projectPattern = /^[a-z0-9][a-z0-9_-]{0,99}$/;
export const servicePattern = /^[a-zA-Z0-9._-]{1,100}$/;

/** The volumes of one service, by what they hold. */
export type VolumeNames = { readonly variables: string; readonly files: string };

/**
 * The names of a service's volumes. No two services share one: a project's name has no dot, so the
 * first dot ends it, and the part before the first `_` says which of the two volumes it is.
 */
export function volumeNames(project: string, service: string): VolumeNames {
  return {
    variables: `dso_${project}.${service}`,
    files: `dsofiles_${project}.${service}`,
  };
}

/** Whether it is a name as {@link volumeNames} makes it. */
export function isVolumeName(name: string): boolean {
  const [, project = '', service = ''] = /^(?:dso|dsofiles)_([^.]+)\.(.+)$/.exec(name) ?? [];
  return projectPattern.test(project) && servicePattern.test(service);
}

/** Whether it is the name of a volume of this project, or begins with one. */
export function isVolumeOf(project: string, name: string): boolean {
  return Object.values(volumeNames(project, '')).some((prefix) => name.startsWith(prefix));
}

/** The agent's name as a volume driver. */
export const defaultDriver = 'dso';

/**
 * Where the engine takes the volumes from: the agent as a volume driver or, in local mode, the
 * directory that has one directory for each volume.
 */
export type VolumeSource = { readonly driver: string } | { readonly directory: string };

/** The definition of a volume under `volumes` of the application. It never changes. */
export function volumeDefinition(name: string, driver: string): JsonObject {
  return { name, driver };
}

/** The mount of a volume under `volumes` of the service. */
export function volumeMount(name: string, target: string): JsonObject {
  return { type: 'volume', source: name, target, read_only: true, volume: { nocopy: true } };
}

/** The mount of a directory in place of a volume. The engine must not make a missing one. */
function directoryMount(path: string, target: string): JsonObject {
  const source = modelText(path);
  return { type: 'bind', source, target, read_only: true, bind: { create_host_path: false } };
}

function mountOf(name: string, target: string, from: VolumeSource): JsonObject {
  return 'driver' in from
    ? volumeMount(name, target)
    : directoryMount(posix.join(from.directory, name), target);
}

/** Whether `rewrite` has added its volume to the service before. */
export function isInjected(
  service: JsonObject,
  { variables }: VolumeNames,
  from: VolumeSource,
): boolean {
  const { source: own } = mountOf(variables, secretsDirectory, from);
  return listOf(service.volumes)
    .map(objectOf)
    .some(({ source, target }) => source === own && target === secretsDirectory);
}

/** What a service mounts at or below a directory, as `volumes[2]`; undefined if nothing. */
export function mountBelow(service: JsonObject, directory: string): string | undefined {
  for (const [key, targetOf] of Object.entries(targets))
    for (const [index, mount] of listOf(service[key]).entries()) {
      const target = targetOf(mount);
      const isBelow = `${posix.normalize(target)}/`
        .replace(/\/+$/, '/')
        .startsWith(`${directory}/`);
      if (isBelow) return `${key}[${index}]`;
    }
  return undefined;
}

/** How each key of a service says where it mounts something. */
const targets: Readonly<Record<string, (mount: JsonValue) => string>> = {
  volumes: (mount) => textOf(objectOf(mount).target),
  tmpfs: (mount) => textOf(mount).split(':')[0] ?? '',
  secrets: (mount) => {
    const { source, target } = objectOf(mount);
    return posix.resolve('/run/secrets', textOf(target) || textOf(source));
  },
  configs: (mount) => {
    const { source, target } = objectOf(mount);
    return posix.resolve('/', textOf(target) || textOf(source));
  },
};

/**
 * The volume of secrets that a service mounts although it belongs to another service or to another
 * application. Undefined if it mounts only its own.
 */
export function foreignSecrets(
  service: JsonObject,
  own: VolumeNames,
  definitions: JsonObject,
  from: VolumeSource,
): string | undefined {
  const names = [own.variables, own.files];
  for (const { source, type } of listOf(service.volumes).map(objectOf)) {
    if (typeof source !== 'string') continue;
    const shown = plainText(source);
    if (type === 'bind' && 'directory' in from) {
      const [name = ''] = posix.relative(from.directory, shown).split('/');
      if (name !== '..' && !names.includes(name)) return shown;
    }
    if (type !== 'volume') continue;
    const { name, driver } = objectOf(
      Object.hasOwn(definitions, source) ? definitions[source] : undefined,
    );
    const isOfAgent = 'driver' in from && driver === from.driver;
    const isSecrets = isOfAgent || /^(dso|dsofiles)_[^.]*\./.test(textOf(name));
    if (isSecrets && !(name === source && names.includes(source))) return shown;
  }
  return undefined;
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === 'string' ? plainText(value) : '';
}

/** The volumes of all services, by name, for `volumes` of the application. */
export function addedVolumes(
  injections: readonly Injection[],
  from: VolumeSource,
): readonly (readonly [string, JsonObject])[] {
  if (!('driver' in from)) return [];
  return injections.flatMap(({ project, service, files }) => {
    const names = volumeNames(project, service);
    const used = files.length === 0 ? [names.variables] : [names.variables, names.files];
    return used.map((name) => [name, volumeDefinition(name, from.driver)] as const);
  });
}

/** The mounts of one service, for its `volumes`. */
export function mountsOf(
  { files }: Injection,
  names: VolumeNames,
  from: VolumeSource,
): readonly JsonObject[] {
  const variables = mountOf(names.variables, secretsDirectory, from);
  return files.length === 0 ? [variables] : [variables, mountOf(names.files, filesDirectory, from)];
}
