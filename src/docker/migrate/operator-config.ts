import { type Document, type YAMLMap, isMap, isScalar, isSeq, parseDocument } from 'yaml';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { credentialParams, methodsOf } from '../config/store-schema.ts';
import { get, rangeOf } from './compose-layers.ts';
import type { FileEdit } from './compose-secrets.ts';
import { removeKeys } from './removal.ts';
import type { SourceFile } from './source-file.ts';
import type { Edit } from './text-edits.ts';

/** What becomes of a dso.yaml, and what a person has to do. */
export type ConvertedConfig = {
  readonly edits: readonly FileEdit[];
  readonly notes: readonly string[];
};

/** Keys of docker-secret-operator that have no meaning here. */
const unknownKeys = {
  top: ['logging', 'notifications'],
  agent: ['restart_strategy', 'rotation', 'events'],
  store: ['retry'],
};
/** Keys of a login that stand among the settings of a store there. */
const loginKeys = ['token', 'access_key', 'secret_key', 'role_id', 'secret_id'];
const shortestMs = 30_000;
const longestMs = 300_000;

/**
 * Changes a dso.yaml of docker-secret-operator to what this product reads. A dso.yaml of this
 * product stays as it is. Pure.
 */
export function convertOperatorConfig(file: SourceFile): ConvertedConfig {
  const document = parseDocument(file.text, { schema: 'failsafe', logLevel: 'silent' });
  if (!isMap(document.contents)) return { edits: [], notes: [] };
  return new Conversion(file, document, document.contents).run();
}

type Store = { readonly name: string; readonly node: YAMLMap; readonly isFlat: boolean };

class Conversion {
  readonly #file: SourceFile;
  readonly #document: Document.Parsed;
  readonly #root: YAMLMap;
  readonly #edits: Edit[] = [];
  readonly #notes: string[] = [];
  /** The keys that are removed of each map. */
  readonly #removed = new Map<YAMLMap, Set<string>>();

  constructor(file: SourceFile, document: Document.Parsed, root: YAMLMap) {
    this.#file = file;
    this.#document = document;
    this.#root = root;
  }

  run(): ConvertedConfig {
    this.#changeAgent();
    const mounts = new Map(
      this.#stores().map((store) => [store.name, this.#changeStore(store)] as const),
    );
    this.#changeSecrets(mounts);
    for (const [map, keys] of this.#removed)
      this.#edits.push(...removeKeys(this.#file.text, map, keys));
    return { edits: this.#edits.map((edit) => ({ file: this.#file, edit })), notes: this.#notes };
  }

  #changeAgent(): void {
    const agent = this.#map(this.#root, 'agent');
    for (const key of unknownKeys.top) this.#remove(this.#root, key);
    if (agent === undefined) return;
    if (get(this.#document, agent, 'restart_strategy') !== undefined)
      this.#notes.push(
        'agent.restart_strategy is removed: write defaults.rotation, such as {strategy: rolling, grace: 10s}',
      );
    for (const key of unknownKeys.agent) this.#remove(agent, key, this.#root, 'agent');
    if (![undefined, 'true'].includes(this.#text(agent, 'cache')))
      this.#remove(agent, 'cache', this.#root, 'agent');
    const watch = this.#map(agent, 'watch');
    if (watch === undefined) return;
    this.#remove(watch, 'webhook', agent, 'watch');
    if (![undefined, 'polling'].includes(this.#text(watch, 'mode')))
      this.#remove(watch, 'mode', agent, 'watch');
    const interval = this.#text(watch, 'polling_interval');
    const ms = interval === undefined ? undefined : durationMs(interval);
    if (ms !== undefined && ms < shortestMs) this.#set(watch, 'polling_interval', '30s');
    if (ms !== undefined && ms > longestMs) this.#set(watch, 'polling_interval', '5m');
  }

  #stores(): readonly Store[] {
    const flat = this.#text(this.#root, 'provider');
    if (flat !== undefined) return [{ name: flat, node: this.#root, isFlat: true }];
    const providers = this.#map(this.#root, 'providers');
    return (providers?.items ?? []).flatMap(({ key, value }) =>
      isScalar(key) && isMap(value)
        ? [{ name: String(key.value), node: value, isFlat: false }]
        : [],
    );
  }

  /** @returns the mount of a Vault, if its secrets are named without it */
  #changeStore({ name, node, isFlat }: Store): string | undefined {
    const type = isFlat ? name : (this.#text(node, 'type') ?? '');
    const shown = sanitizeUserText(name);
    const config = this.#map(node, 'config');
    for (const key of unknownKeys.store) this.#remove(node, key);
    const maps = [...(config === undefined ? [] : [config]), ...(isFlat ? [] : [node])];
    const mount = maps.map((map) => this.#text(map, 'mount')).find((text) => text !== undefined);
    let hasLogin = false;
    for (const map of maps)
      for (const key of [...loginKeys, 'mount'])
        if (this.#text(map, key) !== undefined) {
          hasLogin ||= key !== 'mount';
          this.#remove(map, key, map === config ? node : undefined, 'config');
        }
    const auth = this.#map(node, 'auth');
    const method = auth && this.#text(auth, 'method');
    const params = auth && this.#map(auth, 'params');
    const hasCredential = credentialParams.some(
      (key) => params !== undefined && this.#text(params, key) !== undefined,
    );
    const known = Object.hasOwn(methodsOf, type) ? methodsOf[type as keyof typeof methodsOf] : {};
    if (method !== undefined && (hasCredential || !Object.hasOwn(known, method))) {
      this.#remove(node, 'auth');
      hasLogin = true;
    }
    if (hasLogin)
      this.#notes.push(
        `the login of ${shown} is removed, for the host logs in: docker dso init --provider ${sanitizeUserText(type)}${isFlat || name === type ? '' : ` --store ${shown}`}, with the credential from a file or from standard input`,
      );
    if (
      type === 'file' ||
      (type === 'local' && config && this.#text(config, 'path') !== undefined)
    ) {
      if (type === 'file') this.#set(node, 'type', 'local');
      if (config !== undefined) this.#remove(config, 'path', node, 'config');
      this.#notes.push(
        `the store ${shown} was a directory of files, and is the encrypted local store now: store each of them with keyferry local set NAME --from-file FILE`,
      );
    }
    return type === 'vault' || type === 'openbao' ? (mount ?? 'secret') : undefined;
  }

  #changeSecrets(mounts: ReadonlyMap<string, string | undefined>): void {
    const secrets = get(this.#document, this.#root, 'secrets');
    const defaults = this.#map(this.#root, 'defaults');
    const [only] = mounts.size === 1 ? mounts.keys() : [];
    for (const secret of isSeq(secrets) ? secrets.items : []) {
      if (!isMap(secret)) continue;
      const name = this.#text(secret, 'name') ?? '';
      const store =
        this.#text(secret, 'provider') ?? (defaults && this.#text(defaults, 'provider')) ?? only;
      const mount = mounts.get(store ?? '');
      // A path of the API has a mount. Without one it is a name of docker-secret-operator.
      if (mount !== undefined && /^[\w.-]+$/.test(name))
        this.#set(secret, 'name', `${mount}/data/${name}`);
      const inject = this.#map(secret, 'inject');
      const path = inject && this.#text(inject, 'path');
      if (inject && path?.startsWith('/') === true && !path.startsWith('/run/secrets/dso/')) {
        const moved = path.replace(/^\/(run\/secrets\/)?/, '');
        if (!/^[\w./-]+$/.test(moved)) continue;
        this.#set(inject, 'path', moved);
        this.#notes.push(
          `the file ${sanitizeUserText(path)} is /run/secrets/dso/${moved} now: change the application, or the variable that names it`,
        );
      }
    }
  }

  #map(node: YAMLMap, key: string): YAMLMap | undefined {
    const value = get(this.#document, node, key);
    return isMap(value) ? value : undefined;
  }

  #text(node: YAMLMap, key: string): string | undefined {
    const value = get(this.#document, node, key);
    return isScalar(value) && typeof value.value === 'string' ? value.value : undefined;
  }

  #set(map: YAMLMap, key: string, text: string): void {
    const range = rangeOf(get(this.#document, map, key));
    if (range !== undefined) this.#edits.push({ start: range[0], end: range[1], text });
  }

  /** A map that would be empty goes as a whole. */
  #remove(map: YAMLMap, key: string, parent?: YAMLMap, name?: string): void {
    if (get(this.#document, map, key) === undefined) return;
    const keys = (this.#removed.get(map) ?? new Set()).add(key);
    this.#removed.set(map, keys);
    if (keys.size < map.items.length || parent === undefined || name === undefined) return;
    this.#removed.delete(map);
    this.#remove(parent, name);
  }
}

function durationMs(text: string): number | undefined {
  const [whole, minutes = '0', seconds = '0'] = /^(?:(\d{1,5})m)?(?:(\d{1,5})s)?$/.exec(text) ?? [];
  return whole === undefined || whole === ''
    ? undefined
    : (Number(minutes) * 60 + Number(seconds)) * 1_000;
}
