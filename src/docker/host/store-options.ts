import { type Command, Option } from 'commander';
import { resolve } from 'node:path';
import { SecretError } from '../../core/errors.ts';
import { type StoreType, storeTypes } from '../../core/host-store.ts';
import { Redacted } from '../../core/redacted.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { checkRoleArn } from '../config/role-arn.ts';
import {
  type Setting,
  checkSetting,
  credentialParams,
  hasUserInfo,
  methodsOf,
  settingsOf,
} from '../config/store-schema.ts';
import type { CredentialSource } from './credential-source.ts';

/** What a command line says of one store. */
export type StoreOptions = {
  readonly type: StoreType;
  readonly settings: ReadonlyMap<Setting, string | readonly string[]>;
  readonly method?: string;
  /** Parameters of the method that are not secret. */
  readonly params: ReadonlyMap<string, string>;
  /** By parameter: `secret_id`. */
  readonly credentials: ReadonlyMap<string, CredentialSource>;
  readonly warnings: readonly string[];
};

type Kind = 'setting' | 'method' | 'param' | 'credential' | 'credential-file';

/** One flag: `--vault-role-id` of the parameter `role_id`. */
type StoreFlag = {
  readonly type: StoreType;
  readonly kind: Kind;
  readonly key: string;
  readonly option: Option;
};

const descriptions: Readonly<Record<string, string>> = {
  region: 'the region',
  project_id: "the project's id",
  endpoint: "another endpoint than the region's",
  role_arn: 'the role to assume',
  address: 'the URL of the server; once for each server, in their order',
  namespace: 'the namespace',
  ca_file: 'certificates of the authorities, in PEM',
  tls_server_name: "the name in the server's certificate",
  store_file: 'the encrypted file',
  key_file: 'the file with the key',
  role_id: "the role's id of approle",
  secret_id: 'the secret id of approle, or - to read it from standard input',
  token: 'the token, or - to read it from standard input',
  secret_key: 'the secret key, or - to read it from standard input',
  access_key: "the access key's id",
  mount: 'where the method is mounted',
  role: 'the role of jwt',
  token_file: 'a file with the token',
  name: 'the role of cert',
  cert_file: "the client's certificate, in PEM",
  role_name: 'the RAM role of the server',
};

/**
 * The flags of all stores. They follow the keys of dso.yaml: each key has one, and each credential
 * a second one for a file.
 */
export function createStoreFlags(): readonly StoreFlag[] {
  return storeTypes.flatMap((type) => {
    const methods = methodsOf[type];
    const params = [...new Set(Object.values(methods).flat())];
    const flag = (kind: Kind, key: string, option: Option): StoreFlag => ({
      ...{ type, kind, key },
      option: option.helpGroup(`Options of ${type}:`),
    });
    const settings = settingsOf[type]
      .filter((setting) => setting !== 'addresses')
      .map((setting) => flag('setting', setting, toOption(type, setting)));
    const method = toOption(
      type,
      'auth_method',
      'method',
      `how to log in: ${Object.keys(methods).join(', ')}`,
    );
    return [
      ...settings,
      ...(params.length > 0 || Object.keys(methods).length > 0
        ? [flag('method', 'auth_method', method)]
        : []),
      ...params.map((param) => flag(kindOf(type, param), param, toOption(type, param))),
    ];
  });
}

function kindOf(type: StoreType, param: string): Kind {
  if (credentialParams.includes(param)) return 'credential';
  const credential = param.replace(/_file$/, '');
  return credential !== param && credentialParams.includes(credential)
    ? 'credential-file'
    : 'param';
}

function toOption(type: StoreType, key: string, value = key, description?: string): Option {
  const words = description ?? descriptions[key] ?? `a file with it: ${key.replace(/_file$/, '')}`;
  const option = new Option(
    `--${type}-${key.replaceAll('_', '-')} <${value.replaceAll('_', '-')}>`,
    words,
  );
  return key === 'address'
    ? option.argParser((url: string, before: readonly string[] | undefined) => [
        ...(before ?? []),
        url,
      ])
    : option;
}

/** Names and paths in a command line. The longest is an ARN. */
const maxLength = 4_096;

/**
 * What the command line says of the stores. Values are checked as far as they can be without a
 * call; keys that do not fit together are found in the whole dso.yaml.
 * @param provider of `--provider`
 * @throws SecretError INVALID_REQUEST
 */
export function readStoreOptions(
  command: Command,
  flags: readonly StoreFlag[],
  provider: StoreType | undefined,
): StoreOptions | undefined {
  const values = command.opts<Record<string, string | readonly string[]>>();
  const given = flags.filter(({ option }) => values[option.attributeName()] !== undefined);
  const type = provider ?? given[0]?.type;
  if (type === undefined) return undefined;
  const foreign = given.find((flag) => flag.type !== type);
  if (foreign !== undefined)
    throw new SecretError(
      'INVALID_REQUEST',
      `${foreign.option.long ?? ''} is an option of ${foreign.type}, and not of ${type}`,
      { hint: 'set up one store at a time: call init once for each' },
    );
  const settings = new Map<Setting, string | readonly string[]>();
  const params = new Map<string, string>();
  const credentials = new Map<string, CredentialSource>();
  const warnings: string[] = [];
  let method: string | undefined;
  for (const { kind, key, option } of given) {
    const value = values[option.attributeName()] ?? '';
    const flag = option.long ?? '';
    const texts = typeof value === 'string' ? [value] : value;
    if (kind === 'credential') {
      const [text = ''] = texts;
      credentials.set(
        key,
        text === '-' ? { from: 'stdin' } : { from: 'argument', value: new Redacted(text) },
      );
      continue;
    }
    for (const text of texts) checkText(flag, text);
    const [text = ''] = texts;
    if (kind === 'method') method = toMethod(type, flag, text);
    else if (kind === 'setting') {
      const list = texts.flatMap((each) => (key === 'address' ? each.split(',') : [each]));
      for (const each of list) checkValue(type, flag, key as Setting, each, warnings);
      if (list.length > 1) settings.set('addresses', list);
      else settings.set(key as Setting, absolute(key, list[0] ?? ''));
    } else if (kind === 'credential-file') {
      const name = key.replace(/_file$/, '');
      if (credentials.has(name))
        throw new SecretError(
          'INVALID_REQUEST',
          `${flag} and ${flag.replace(/-file$/, '')} are both given`,
          {
            hint: 'give one of them',
          },
        );
      credentials.set(name, { from: 'file', path: text });
    } else params.set(key, absolute(key, text));
  }
  return { type, settings, ...(method !== undefined && { method }), params, credentials, warnings };
}

/** The agent has another current directory. */
function absolute(key: string, text: string): string {
  return key.endsWith('_file') ? resolve(text) : text;
}

function checkText(flag: string, text: string): void {
  const fault =
    text === ''
      ? 'is empty'
      : text.length > maxLength
        ? `has more than ${maxLength} characters`
        : /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u.test(text)
          ? 'has a line break or a control character in it'
          : undefined;
  if (fault !== undefined)
    throw new SecretError('INVALID_REQUEST', `${flag} ${fault}`, { hint: 'check its value' });
}

function toMethod(type: StoreType, flag: string, text: string): string {
  const names = Object.keys(methodsOf[type]);
  const method = text.toLowerCase();
  if (names.includes(method)) return method;
  throw new SecretError(
    'INVALID_REQUEST',
    `${flag} ${sanitizeUserText(text)} is not a method of ${type}`,
    {
      hint: `its methods are ${names.join(', ')}`,
    },
  );
}

function checkValue(
  type: StoreType,
  flag: string,
  setting: Setting,
  value: string,
  warnings: string[],
): void {
  const arnProblem = setting === 'role_arn' ? checkRoleArn(type, value) : undefined;
  if (arnProblem?.severity === 'warning') warnings.push(`${flag} ${arnProblem.message}`);
  const fault =
    arnProblem?.severity === 'error' ? arnProblem.message : checkSetting(setting, value);
  if (fault === undefined) return;
  const shown = hasUserInfo(value) ? '' : ` ${sanitizeUserText(value)}`;
  throw new SecretError('INVALID_REQUEST', `${flag}${shown} ${fault}`, {
    hint: setting === 'region' ? 'regions look like us-east-1 or cn-north-4' : 'check its value',
  });
}
