import type { SecretRef } from '../../../core/plan.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import type { YamlMap } from '../../../formats/yaml-objects.ts';
import { type ReportAt, readOptionalText, readRequiredText } from '../../shared/class/files.ts';

/**
 * Characters that a path may hold (RFC 3986, pchar) and that `encodeURIComponent` encodes
 * nevertheless.
 */
const unescapedInPaths = /%(24|26|2B|2C|3A|3B|3D|40)/g;

const maxPathLength = 4_096;

/**
 * Parses a `secretPath` into the path that is sent below `v1/`, so that equal requests have one
 * spelling. A leading `/` or `v1/` goes, and slashes are folded, as the vendors' clients do. The
 * path is written plain and becomes percent-encoded. The parameters of its query are sorted.
 * @returns the path; or the problem, as words that follow `secretPath`
 */
export function parseSecretPath(
  text: string,
): { readonly path: string } | { readonly problem: string } {
  const [, plain = '', query = ''] = /^(?:\/?v1\/)?([^?]*)\??(.*)$/su.exec(text) ?? [];
  const segments = plain.split('/').filter((segment) => segment !== '');
  if (segments.length === 0) return { problem: 'names nothing' };
  if (text.length > maxPathLength) return { problem: `is longer than ${maxPathLength} characters` };
  if (!/^\P{C}*$/u.test(text)) return { problem: 'has control characters' };
  if (segments.some((segment) => segment === '.' || segment === '..'))
    return { problem: 'has "." or ".." as an element' };
  if (!isQuery(query)) return { problem: 'has a query with a "%" that encodes nothing' };
  const parameters = new URLSearchParams(query);
  parameters.sort();
  const path = segments.map(encode).join('/');
  return { path: parameters.size === 0 ? path : `${path}?${parameters.toString()}` };
}

/** A path without its query, as a grant for a shared identity names it. */
export function withoutQuery(path: string): string {
  return path.split('?')[0] ?? '';
}

function encode(segment: string): string {
  return encodeURIComponent(segment)
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(unescapedInPaths, (code) => decodeURIComponent(code));
}

function isQuery(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/** What reading an object needs. */
export type ObjectReader = {
  readonly reportError: ReportAt;
  readonly reportWarning: ReportAt;
  readonly reportHint: ReportAt;
  /** Reports what only the operator may allow. */
  readonly reportForbidden: ReportAt;
  /** The connection has a client certificate, which is the operator's. */
  readonly usesClientCertificate: boolean;
};

/** Reads the ref of an object. If the object has an error, the name may be empty. */
export function readRef(map: YamlMap, reader: ObjectReader): SecretRef {
  const method = readMethod(map, reader);
  const body = readBody(map, method, reader);
  const name = readName(map, reader);
  if (reader.usesClientCertificate && method !== 'GET' && isLogin(name))
    reader.reportForbidden(
      map.scalar('secretPath') ?? map.position,
      `secretPath of ${map.where} is a login, and Vault could take the client certificate of Keyferry's connection for who logs in`,
      'name a path that needs the token of the workload',
    );
  return { service: 'vault', name, method, ...(body !== undefined && { body }) };
}

function readName(map: YamlMap, { reportError }: ObjectReader): string {
  const text = readRequiredText(
    map,
    'secretPath',
    'secretPath is the path in Vault, such as secret/data/app',
    reportError,
  );
  if (text === undefined) return '';
  const parsed = parseSecretPath(text.text);
  if ('path' in parsed) return parsed.path;
  reportError(
    text,
    `secretPath of ${map.where} ${parsed.problem}: ${sanitizeUserText(text.text)}`,
    'write it like secret/data/app?version=3',
  );
  return '';
}

/** Whether a path is a login. A namespace can stand before `auth/`. */
function isLogin(name: string): boolean {
  return /(^|\/)auth\/.+\/login$/.test(withoutQuery(name));
}

function readMethod(map: YamlMap, { reportError }: ObjectReader): 'GET' | 'POST' | 'PUT' {
  const method = readOptionalText(map, 'method');
  if (method === undefined || method.text === 'GET') return 'GET';
  if (method.text === 'POST' || method.text === 'PUT') return method.text;
  reportError(
    method,
    `method of ${map.where} is not known: ${sanitizeUserText(method.text)}`,
    'use GET, POST or PUT',
  );
  return 'GET';
}

/** The body as canonical JSON: objects with equal arguments share one read, all others do not. */
function readBody(
  map: YamlMap,
  method: string,
  { reportError, reportWarning }: ObjectReader,
): string | undefined {
  const body = map.json('secretArgs');
  if (body === undefined) return undefined;
  const at = map.position;
  if (!body.startsWith('{'))
    reportError(at, `secretArgs of ${map.where} is not a map`, 'list names and values under it');
  else if (method === 'GET')
    reportWarning(
      at,
      `${map.where} has secretArgs, but Vault reads no body of a GET`,
      'write method: POST, or put them into the query of secretPath',
    );
  return body;
}
