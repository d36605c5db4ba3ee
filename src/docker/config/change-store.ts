import { type Document, YAMLMap, isMap, isNode, isScalar, parseDocument } from 'yaml';
import { SecretError } from '../../core/errors.ts';
import type { StoreType } from '../../core/host-store.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { readYamlDocument } from '../../formats/yaml.ts';
import { type Setting, credentialParams, methodsOf } from './store-schema.ts';

/** What shall stand in dso.yaml about a store. What is not named stays as it is. */
export type StoreChange = {
  readonly name: string;
  readonly type: StoreType;
  readonly settings: ReadonlyMap<Setting, string | readonly string[]>;
  readonly auth: {
    /** Absent: the present method, or the only one that has all of `params`. */
    readonly method?: string | undefined;
    readonly params: ReadonlyMap<string, string>;
  };
};

/** The result of {@link changeStore}. */
export type ChangedStore = {
  readonly text: string;
  /** What else has changed, in words for the user. */
  readonly notes: readonly string[];
  /** The store's method after the change. */
  readonly method?: string;
  /** Paths of files with credentials that the text named before, and does not name now. */
  readonly unusedFiles: readonly string[];
};

const header = `# The stores of this host. docs/docker/dso-yaml.md describes every key.
`;

const otherSpelling: ReadonlyMap<string, Setting> = new Map([
  ['address', 'addresses'],
  ['addresses', 'address'],
]);

/**
 * Changes one store of a dso.yaml, or adds it. Comments, other stores and unknown keys stay; blanks
 * may change. It does not check values: {@link readDsoConfig} does that with the new text.
 * @param text an empty one makes a new file
 * @param file its name in errors
 * @throws SecretError INVALID_REQUEST if the text is not a map in YAML, or the change does not fit
 */
export function changeStore(text: string, file: string, change: StoreChange): ChangedStore {
  const document = parseMap(text, file);
  const notes: string[] = [];
  const { store, settings } = findOrAddStore(document, change, notes);
  for (const [key, value] of change.settings) {
    const other = otherSpelling.get(key);
    if (other !== undefined) for (const map of [store, settings]) map.delete(other);
    const place = settings.has(key) || !store.has(key) ? settings : store;
    place.set(key, typeof value === 'string' ? value : document.createNode([...value]));
  }
  if (settings !== store && settings.items.length > 0) store.set('config', settings);
  const { method, unusedFiles } = changeAuth(document, store, change);
  const changed = document.toString(stringifyOptions(text));
  return {
    text: changed,
    notes,
    ...(method !== undefined && { method }),
    unusedFiles: unusedFiles.filter((path) => !changed.includes(path)),
  };
}

/** Keeps the most visible habits of the file. */
function stringifyOptions(text: string) {
  return {
    lineWidth: 0,
    indentSeq: !/^[^\s#-].*:\s*(#.*)?\n- /m.test(text),
    flowCollectionPadding: !/\{[^\s}]/.test(text),
  };
}

function parseMap(text: string, file: string): Document.Parsed {
  // This reader has limits, so that the library below cannot run out of its stack.
  const [problem] = readYamlDocument(text).problems;
  const place = sanitizeUserText(file);
  if (problem !== undefined)
    throw new SecretError(
      'INVALID_REQUEST',
      `${place}:${problem.at.line}:${problem.at.column} is not YAML: ${problem.message}`,
      { hint: 'correct it, or move the file away and call init again' },
    );
  const document = parse(text.trim() === '' ? header : text);
  if (document.errors.length > 0 || !isMap(document.contents))
    throw new SecretError('INVALID_REQUEST', `${place} is not a map in YAML`, {
      hint: 'correct it, or move the file away and call init again',
    });
  return document;
}

/** A file without content, or with comments alone, is an empty map. */
function parse(text: string): Document.Parsed {
  // All scalars stay as they are written: 0400 is not the number 400.
  const document = parseDocument(text, { schema: 'failsafe', customTags: ['null'] });
  if (document.errors.length > 0 || document.contents !== null) return document;
  const empty = parse(`${text}\n{}\n`);
  if (isMap(empty.contents)) empty.contents.flow = false;
  return empty;
}

/** `store` has the auth, and `settings` the keys that say where the store is. */
type StorePlace = { readonly store: YAMLMap; readonly settings: YAMLMap };

function findOrAddStore(
  document: Document.Parsed,
  change: StoreChange,
  notes: string[],
): StorePlace {
  const root = document.contents as unknown as YAMLMap;
  const flat = textOf(root, 'provider');
  if (flat === change.name && flat === change.type) {
    return { store: root, settings: mapOf(root, 'config') ?? new YAMLMap() };
  }
  if (flat !== undefined) moveFlatStore(root, flat, notes);
  const present = mapOf(root, 'providers');
  const providers = present ?? new YAMLMap();
  const others = providers.items.map(({ key }) => String(isScalar(key) ? key.value : key));
  if (present === undefined) root.set('providers', providers);
  const [only] = others.filter((name) => name !== change.name);
  const existing = mapOf(providers, change.name);
  if (existing !== undefined) {
    const type = textOf(existing, 'type');
    if (type !== undefined && type !== change.type)
      throw new SecretError(
        'INVALID_REQUEST',
        `the store ${sanitizeUserText(change.name)} has the type ${sanitizeUserText(type)}, and not ${change.type}`,
        { hint: 'give the new store another name with --store' },
      );
    if (type === undefined) existing.set('type', change.type);
    return { store: existing, settings: mapOf(existing, 'config') ?? existing };
  }
  const store = new YAMLMap();
  store.set('type', change.type);
  providers.set(change.name, store);
  // A second store would leave references that name none without a store.
  if (
    others.length === 1 &&
    only !== undefined &&
    textOf(mapOf(root, 'defaults'), 'provider') === undefined
  )
    setDefaultStore(root, only, notes);
  return { store, settings: store };
}

/** Makes an entry of `providers` of the flat form, which can have only one store. */
function moveFlatStore(root: YAMLMap, name: string, notes: string[]): void {
  const store = mapOf(root, 'config') ?? new YAMLMap();
  const moved = new YAMLMap();
  moved.set('type', name);
  for (const item of store.items) moved.items.push(item);
  const auth = root.get('auth', true);
  if (auth !== undefined) moved.set('auth', auth);
  const providers = new YAMLMap();
  providers.set(name, moved);
  for (const key of ['config', 'auth']) root.delete(key);
  const place = root.items.findIndex(({ key }) => isScalar(key) && key.value === 'provider');
  const [pair] = root.items.splice(place, 1);
  root.set('providers', providers);
  const added = root.items.pop();
  if (added !== undefined) {
    if (!isNode(added.key) && isNode(pair?.key)) {
      const key = pair.key.clone();
      if (isScalar(key)) key.value = 'providers';
      added.key = key;
    }
    root.items.splice(place, 0, added);
  }
  notes.push(`${sanitizeUserText(name)} is now under providers, which can have several stores`);
}

function setDefaultStore(root: YAMLMap, name: string, notes: string[]): void {
  const defaults = mapOf(root, 'defaults') ?? new YAMLMap();
  defaults.set('provider', name);
  root.set('defaults', defaults);
  notes.push(
    `references that name no store still go to ${sanitizeUserText(name)} (defaults.provider)`,
  );
}

function changeAuth(
  document: Document.Parsed,
  store: YAMLMap,
  { type, auth: { method: named, params } }: StoreChange,
): { readonly method?: string; readonly unusedFiles: readonly string[] } {
  const auth = mapOf(store, 'auth');
  const present = textOf(auth, 'method');
  if (named === undefined && params.size === 0)
    return { ...(present !== undefined && { method: present }), unusedFiles: [] };
  const method = named ?? present ?? findMethod(type, [...params.keys()]);
  if (method === undefined) throw unclearMethod(type, [...params.keys()]);
  const known = methodsOf[type][method] ?? [];
  for (const param of params.keys())
    if (!known.includes(param))
      throw new SecretError(
        'INVALID_REQUEST',
        `${param} is not a parameter of the method ${sanitizeUserText(method)} of ${type}`,
        { hint: `name the method with --${type}-auth-method` },
      );
  const changedAuth = auth ?? new YAMLMap();
  if (auth === undefined) store.set('auth', changedAuth);
  changedAuth.set('method', method);
  const presentParams = mapOf(changedAuth, 'params');
  const changedParams = presentParams ?? new YAMLMap();
  const before = new Map(
    changedParams.items.map(({ key }) => [String(key), textOf(changedParams, String(key))]),
  );
  for (const name of before.keys()) if (!known.includes(name)) changedParams.delete(name);
  for (const [name, value] of params) {
    changedParams.set(name, value);
    const credential = name.replace(/_file$/, '');
    if (credential !== name && credentialParams.includes(credential))
      changedParams.delete(credential);
  }
  if (changedParams.items.length > 0) changedAuth.set('params', changedParams);
  else changedAuth.delete('params');
  const unusedFiles = [...before].flatMap(([name, path]) =>
    name.endsWith('_file') && path !== undefined && textOf(changedParams, name) !== path
      ? [path]
      : [],
  );
  return { method, unusedFiles };
}

/** The only method of a type that has all of these parameters. */
export function findMethod(type: StoreType, params: readonly string[]): string | undefined {
  const [only, ...others] = Object.entries(methodsOf[type]).filter(([, known]) =>
    params.every((param) => known.includes(param)),
  );
  return others.length === 0 ? only?.[0] : undefined;
}

function unclearMethod(type: StoreType, params: readonly string[]): SecretError {
  const names = Object.keys(methodsOf[type]).join('|');
  return new SecretError(
    'INVALID_REQUEST',
    `no method of ${type} is clear from ${params.join(', ')}`,
    { hint: `name the method with --${type}-auth-method ${names}` },
  );
}

function mapOf(map: YAMLMap | undefined, key: string): YAMLMap | undefined {
  const value = map?.get(key, true);
  if (isMap(value)) return value;
  if (value === undefined || (isScalar(value) && value.value === null)) return undefined;
  throw new SecretError(
    'INVALID_REQUEST',
    `${sanitizeUserText(key)} in dso.yaml is not a plain map`,
    {
      hint: 'write it without aliases, or change the file by hand',
    },
  );
}

function textOf(map: YAMLMap | undefined, key: string): string | undefined {
  const value = map?.get(key);
  return typeof value === 'string' ? value : undefined;
}
