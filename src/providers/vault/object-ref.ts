import { quoteForeign } from '../../errors/status-text.ts';
import type { SecretRef } from '../../plan/plan.ts';
import type { YamlMap } from '../../plan/yaml-list.ts';
import type { Refuse } from '../file-names.ts';
import { filled, required } from '../object-fields.ts';
import { readSecretPath, withoutQuery } from './secret-path.ts';

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
