import { isMap, isScalar, isSeq } from 'yaml';
import { type JsonObject, isObject, listOf, objectOf, plainText } from '../model/compose-model.ts';
import type { ServiceInModel } from '../model/types.ts';
import { type Layers, definitionsOf, get, pairOf } from './compose-layers.ts';
import { removeItems, removeKeys } from './removal.ts';
import type { SourceFile } from './source-file.ts';
import type { Edit } from './text-edits.ts';

/** A secret of Compose that a service mounts. */
export type MountedSecret = {
  readonly source: string;
  /** Its path in the container. */
  readonly target: string;
  /** Variables of the service that have the path as their value. */
  readonly variables: readonly string[];
  /** Whether an owner or permissions are set. */
  readonly hasOwner: boolean;
};

/** The secrets that a service mounts. */
export function mountedSecrets({ definition }: ServiceInModel): readonly MountedSecret[] {
  const environment = Object.entries(objectOf(definition.environment));
  return listOf(definition.secrets).flatMap((item) => {
    const { source, target, uid, gid, mode } = objectOf(item);
    if (typeof source !== 'string') return [];
    const given = typeof target === 'string' ? plainText(target) : source;
    const path = given.startsWith('/') ? given : `/run/secrets/${given}`;
    const variables = environment.flatMap(([name, value]) =>
      typeof value === 'string' && plainText(value) === path ? [name] : [],
    );
    const hasOwner = [uid, gid, mode].some((each) => each !== undefined);
    return [{ source, target: path, variables, hasOwner }];
  });
}

/** The names of the secrets that the build of a service takes. */
export function buildSecrets({ definition }: ServiceInModel): readonly string[] {
  return listOf(objectOf(definition.build).secrets).flatMap((item) => {
    const { source } = objectOf(item);
    return typeof source === 'string' ? [source] : [];
  });
}

/** Where the value of a secret of Compose is. */
export type SecretSource =
  | { readonly from: 'file'; readonly path: string }
  | { readonly from: 'environment'; readonly variable: string }
  | { readonly from: 'engine'; readonly name: string }
  | { readonly from: 'elsewhere' };

/** Reads an entry of `secrets` of the model. */
export function sourceOf(secrets: JsonObject, name: string): SecretSource {
  const entry = Object.hasOwn(secrets, name) ? secrets[name] : undefined;
  if (!isObject(entry)) return { from: 'elsewhere' };
  const { file, environment, external, name: fullName } = entry;
  if (external === true)
    return { from: 'engine', name: typeof fullName === 'string' ? plainText(fullName) : name };
  if (typeof file === 'string') return { from: 'file', path: plainText(file) };
  if (typeof environment === 'string') return { from: 'environment', variable: environment };
  return { from: 'elsewhere' };
}

/** An edit of a file. */
export type FileEdit = { readonly file: SourceFile; readonly edit: Edit };

/** What removes secrets from the list of a service; nothing where it cannot. */
export function unmountSecrets(
  layers: Layers,
  service: string,
  names: ReadonlySet<string>,
): readonly FileEdit[] {
  return definitionsOf(layers, service).flatMap(({ layer, node }): readonly FileEdit[] => {
    const { document, file } = layer;
    const list = pairOf(document, node, 'secrets')?.value;
    if (!isSeq(list)) return [];
    const indexes = list.items.flatMap((item, index) => {
      const source = isMap(item) ? get(document, item, 'source') : item;
      return isScalar(source) && names.has(String(source.value)) ? [index] : [];
    });
    const isWhole = indexes.length === list.items.length && isMap(node);
    const edits = isWhole
      ? removeKeys(file.text, node, new Set(['secrets']))
      : removeItems(file.text, list, indexes);
    return edits.map((edit) => ({ file, edit }));
  });
}

/** What removes entries at the top of the files; the others stay. */
export function removeDefinitions(layers: Layers, names: ReadonlySet<string>): readonly FileEdit[] {
  return layers.own.flatMap(({ document, file }): readonly FileEdit[] => {
    const root = document.contents;
    const map = get(document, root, 'secrets');
    if (!isMap(root) || !isMap(map)) return [];
    const keys = map.items.map(({ key }) => (isScalar(key) ? String(key.value) : ''));
    const edits = keys.every((key) => names.has(key))
      ? removeKeys(file.text, root, new Set(['secrets']))
      : removeKeys(file.text, map, names);
    return edits.map((edit) => ({ file, edit }));
  });
}
