import type { SecretRef } from '../../../core/plan.ts';
import { quoteForeign } from '../../../core/safe-text.ts';
import type { YamlMap } from '../../../formats/yaml-objects.ts';
import { type Refuse, filled, required } from '../../shared/class/files.ts';

/** Characters that need no encoding in a path (RFC 3986), beside those that `encodeURIComponent` leaves; what the others of its are, it encodes. */
const plainInPaths = /%(24|26|2B|2C|3A|3B|3D|40)/g;

const longestPath = 4_096;

/**
 * A `secretPath` as it is sent below `v1/`: one spelling for all that ask the same. A leading `/` or `v1/` is taken away and slashes are
 * folded, as the vendors' clients do; the path is percent-encoded (it is written plain), and the parameters of its query are sorted.
 * @returns the path, or what is wrong with it, as words that follow it
 */
export function readSecretPath(text: string): { readonly path: string } | { readonly fault: string } {
  const [, plain = '', query = ''] = /^(?:\/?v1\/)?([^?]*)\??(.*)$/su.exec(text) ?? [];
  const segments = plain.split('/').filter((segment) => segment !== '');
  if (segments.length === 0) return { fault: 'names nothing' };
  if (text.length > longestPath) return { fault: `is longer than ${longestPath} characters` };
  if (!/^\P{C}*$/u.test(text)) return { fault: 'has control characters' };
  if (segments.some((segment) => segment === '.' || segment === '..'))
    return { fault: 'has "." or ".." as an element' };
  if (!isQuery(query)) return { fault: 'has a query with a "%" that encodes nothing' };
  const parameters = new URLSearchParams(query);
  parameters.sort();
  const path = segments.map(encode).join('/');
  return { path: parameters.size === 0 ? path : `${path}?${parameters.toString()}` };
}

/** A path without its query: what a grant for a shared identity names. */
export function withoutQuery(path: string): string {
  return path.split('?')[0] ?? '';
}

function encode(segment: string): string {
  return encodeURIComponent(segment)
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(plainInPaths, (code) => decodeURIComponent(code));
}

function isQuery(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/** The ways to report what is wrong with an object, and what is to be known to judge it. */
export type ObjectReader = {
  readonly refuse: Refuse;
  readonly warn: Refuse;
  /** For what only the operator may allow. */
  readonly forbid: Refuse;
  /** Whether the connection shows a client certificate, which is the operator's. */
  readonly showsCertificate: boolean;
};

/** What an object asks Vault. Of one that is faulty, the name may be empty. */
export function readRef(map: YamlMap, reader: ObjectReader): SecretRef {
  const method = readMethod(map, reader);
  const body = readBody(map, method, reader);
  const name = readName(map, reader);
  if (reader.showsCertificate && method !== 'GET' && isLogin(name))
    reader.forbid(
      map.scalar('secretPath') ?? map.position,
      `secretPath of ${map.where} is a login, and Vault could take the client certificate of Keyferry's connection for who logs in`,
      'name a path that needs the token of the workload',
    );
  return { service: 'vault', name, method, ...(body !== undefined && { body }) };
}

function readName(map: YamlMap, { refuse }: ObjectReader): string {
  const text = required(
    map,
    'secretPath',
    'secretPath is the path in Vault, such as secret/data/app',
    refuse,
  );
  if (text === undefined) return '';
  const read = readSecretPath(text.text);
  if ('path' in read) return read.path;
  refuse(
    text,
    `secretPath of ${map.where} ${read.fault}: ${quoteForeign(text.text)}`,
    'write it like secret/data/app?version=3',
  );
  return '';
}

/** In whatever namespace: one may stand before `auth/`. */
function isLogin(name: string): boolean {
  return /(^|\/)auth\/.+\/login$/.test(withoutQuery(name));
}

function readMethod(map: YamlMap, { refuse }: ObjectReader): 'GET' | 'POST' | 'PUT' {
  const method = filled(map, 'method');
  if (method === undefined || method.text === 'GET') return 'GET';
  if (method.text === 'POST' || method.text === 'PUT') return method.text;
  refuse(method, `method of ${map.where} is not known: ${quoteForeign(method.text)}`, 'use GET, POST or PUT');
  return 'GET';
}

/** JSON, canonical: two objects that ask for two certificates are two questions, two that ask for one are one. */
function readBody(map: YamlMap, method: string, { refuse, warn }: ObjectReader): string | undefined {
  const body = map.json('secretArgs');
  if (body === undefined) return undefined;
  const at = map.position;
  if (!body.startsWith('{'))
    refuse(at, `secretArgs of ${map.where} is no map`, 'list names and values under it');
  else if (method === 'GET')
    warn(
      at,
      `${map.where} has secretArgs, but Vault reads no body of a GET`,
      'write method: POST, or put them into the query of secretPath',
    );
  return body;
}
