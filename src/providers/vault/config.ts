import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import { quoteForeign } from '../../core/safe-text.ts';
import { classEndpoint } from '../../http/endpoint.ts';
import { reader, settingsOf } from '../shared/env.ts';
import { type NameGlob, compileNameGlob } from '../shared/identity/name-glob.ts';
import { maxAddresses, operatorAddress, splitList } from './class/address.ts';
import { cleanNamespace, isCleanPath, isHostName, parseGoBoolean } from './class/connection.ts';
import { cleanMount } from './class/login.ts';
import { type VaultFacts, type VaultLogin, type VaultTls, defaultMounts } from './types.ts';

/** A variable that is set, under the name that was found, and its value. */
export type Setting = { readonly name: string; readonly text: string };

/** Reads variables of an environment by what stands behind their prefixes. Whatever cannot be used throws NOT_CONFIGURED naming the variable. */
export type SettingReader = {
  /** `ROLE_ID_FILE`: ours alone, `KEYFERRY_VAULT_ROLE_ID_FILE`. For openbao `KEYFERRY_OPENBAO_...` wins. */
  own(name: string): Setting | undefined;
  /** `ADDR`: ours, else that of the vendors' clients, `VAULT_ADDR`. For openbao `BAO_...` wins. */
  any(name: string): Setting | undefined;
  /** What `parse` makes of it. @param wanted what to give, for the message */
  read<T>(
    setting: Setting | undefined,
    parse: (text: string) => T | undefined,
    wanted: string,
  ): T | undefined;
  file(setting: Setting | undefined): string | undefined;
  flag(setting: Setting | undefined): boolean;
  rate(setting: Setting | undefined, otherwise: number): number;
  readonly faulty: ReturnType<typeof settingsOf>['faulty'];
};

const positive = z.coerce.number().positive().max(10_000);

/** See {@link SettingReader}; empty variables count as absent. */
export function createSettingReader(
  dialect: VaultLogin['dialect'],
  env: Readonly<Record<string, string | undefined>>,
): SettingReader {
  const get = reader(env);
  const { faulty } = settingsOf(dialect);
  const own = dialect === 'openbao' ? ['KEYFERRY_OPENBAO_', 'KEYFERRY_VAULT_'] : ['KEYFERRY_VAULT_'];
  const theirs = dialect === 'openbao' ? ['BAO_', 'VAULT_'] : ['VAULT_'];

  function first(prefixes: readonly string[], name: string): Setting | undefined {
    for (const prefix of prefixes) {
      const text = get(prefix + name);
      if (text !== undefined) return { name: prefix + name, text };
    }
    return undefined;
  }

  const read: SettingReader['read'] = (setting, parse, wanted) => {
    if (setting === undefined) return undefined;
    const value = parse(setting.text);
    if (value !== undefined) return value;
    throw faulty(setting.name, `is ${quoteForeign(setting.text)}`, `give ${wanted}`);
  };

  return {
    own: (name) => first(own, name),
    any: (name) => first([...own, ...theirs], name),
    read,
    file: (setting) =>
      read(setting, (text) => (isCleanPath(text) ? text : undefined), 'an absolute, clean path'),
    flag: (setting) => read(setting, parseGoBoolean, 'true or false') ?? false,
    rate: (setting, otherwise) =>
      read(setting, (text) => positive.safeParse(text).data, 'a number above 0') ?? otherwise,
    faulty,
  };
}

/**
 * `ALLOWED_ADDRESSES`: what classes may name beside the configured addresses. Entries are looked at now, with any address, so that a faulty one
 * stops the start and not a mount.
 * @throws SecretError NOT_CONFIGURED
 */
export function readAllowedAddresses({ own, faulty }: SettingReader): readonly string[] {
  const setting = own('ALLOWED_ADDRESSES');
  if (setting === undefined) return [];
  const entries = splitList(setting.text);
  for (const entry of entries) {
    if (isEntry(entry)) continue;
    const message = `has an entry that is no address: ${quoteForeign(entry)}`;
    throw faulty(setting.name, message, 'write host:port, http://host:port, *.domain or unix:///path');
  }
  return entries;
}

function isEntry(entry: string): boolean {
  try {
    if (entry.startsWith('unix:')) operatorAddress(entry, '');
    else classEndpoint('vault.invalid', [entry]);
    return true;
  } catch (thrown) {
    return thrown instanceof SecretError && thrown.code !== 'NOT_CONFIGURED';
  }
}

/**
 * `ALLOWED_FILES`: files that classes may name, and directories with all below; `*` stops at `/`, `**` does not.
 * @throws SecretError NOT_CONFIGURED
 */
export function readAllowedFiles({ own, faulty }: SettingReader): readonly NameGlob[] {
  const setting = own('ALLOWED_FILES');
  if (setting === undefined) return [];
  return splitList(setting.text).flatMap((entry) => {
    const path = entry.replace(/\/+$/, '');
    if (isCleanPath(path)) return [path, `${path}/**`].map(compileNameGlob);
    throw faulty(setting.name, `has an entry that is no absolute, clean path: ${quoteForeign(entry)}`);
  });
}

/** What an operator configures of the way to Vault, beside what each login says. */
export type VaultConfig = {
  /** Calls a second, for each login's addresses, and how many at once after a pause. */
  readonly perSecond: number;
  readonly burst: number;
};

/** What an operator configures of a provider of Vault or OpenBao. */
export type VaultSettings = VaultConfig & {
  readonly facts: VaultFacts;
  readonly shared: SharedFiles;
  /** Where the driver brings no token, the API server is asked for one. */
  readonly tokenRequests: boolean;
  /** For roles that may look at the pod: `serviceAccount` where none does, so that all pods of an account are one principal. */
  readonly jwtPrincipal: 'pod' | 'serviceAccount';
};

/** What shows Keyferry itself to Vault, beside a client certificate. Files, read at each login. */
export type SharedFiles = {
  readonly roleIdFile?: string;
  readonly secretIdFile?: string;
  readonly tokenFile?: string;
};

/**
 * Reads the variables of the vendors' clients, and ours beside them, which win. `docs/providers/vault.md` lists them.
 * @throws SecretError NOT_CONFIGURED naming the variable
 */
export function readVaultConfig(
  dialect: VaultLogin['dialect'],
  env: Readonly<Record<string, string | undefined>>,
): VaultSettings {
  const settings = createSettingReader(dialect, env);
  const { own, read, rate, flag } = settings;
  return {
    perSecond: rate(own('RATE'), 50),
    burst: Math.max(1, rate(own('BURST'), 500)),
    facts: readFacts(dialect, settings),
    shared: readSharedFiles(settings),
    tokenRequests: flag(own('TOKEN_REQUESTS')),
    jwtPrincipal: read(own('JWT_PRINCIPAL'), asPrincipal, 'pod or serviceAccount') ?? 'pod',
  };
}

function readFacts(dialect: string, settings: SettingReader): VaultFacts {
  const { own, any, read, flag, faulty } = settings;
  const { name = '', text = '' } = any('ADDR') ?? {};
  const addresses = splitList(text);
  if (addresses.length > maxAddresses) throw faulty(name, `has more than ${maxAddresses} addresses`);
  const namespace = read(any('NAMESPACE'), cleanNamespace, 'a namespace like team-a/shop');
  const mount = (method: string): string | undefined =>
    read(own(method), cleanMount, 'a path like kubernetes');
  const tokens = mount('MOUNT');
  return {
    addresses: [...new Set(addresses.map((address) => operatorAddress(address, `${dialect}: ${name}`)))],
    ...(namespace !== undefined && { namespace }),
    mounts: {
      kubernetes: tokens ?? defaultMounts.kubernetes,
      jwt: tokens ?? defaultMounts.jwt,
      approle: mount('APPROLE_MOUNT') ?? defaultMounts.approle,
      cert: mount('CERT_MOUNT') ?? defaultMounts.cert,
      token: defaultMounts.token,
    },
    tls: readTls(settings),
    allowedAddresses: [...addresses, ...readAllowedAddresses(settings)],
    allowedFiles: readAllowedFiles(settings),
    allowSkipVerify: flag(own('ALLOW_SKIP_VERIFY')),
  };
}

function readTls({ any, read, file, flag, faulty }: SettingReader): VaultTls {
  const caFile = file(any('CACERT'));
  const caDirectory = file(any('CAPATH'));
  const serverName = read(
    any('TLS_SERVER_NAME'),
    (text) => (isHostName(text) ? text : undefined),
    'the name of a host',
  );
  const [cert, key] = [any('CLIENT_CERT'), any('CLIENT_KEY')];
  const alone = cert === undefined || key === undefined ? (cert ?? key) : undefined;
  if (alone !== undefined) throw faulty(alone.name, 'stands alone', 'set certificate and key, or none');
  const [certFile, keyFile] = [file(cert), file(key)];
  return {
    ...(flag(any('SKIP_VERIFY')) && { skipVerify: true }),
    ...(caFile !== undefined ? { caFile } : caDirectory !== undefined && { caDirectory }),
    ...(serverName !== undefined && { serverName }),
    ...(certFile !== undefined && keyFile !== undefined && { certFile, keyFile }),
  };
}

function readSharedFiles({ own, file, faulty }: SettingReader): SharedFiles {
  const roleIdFile = file(own('ROLE_ID_FILE'));
  const secretIdFile = file(own('SECRET_ID_FILE'));
  const tokenFile = file(own('TOKEN_FILE'));
  if (secretIdFile !== undefined && roleIdFile === undefined)
    throw faulty('KEYFERRY_VAULT_SECRET_ID_FILE', 'stands alone', 'set KEYFERRY_VAULT_ROLE_ID_FILE, too');
  return {
    ...(roleIdFile !== undefined && { roleIdFile }),
    ...(secretIdFile !== undefined && { secretIdFile }),
    ...(tokenFile !== undefined && { tokenFile }),
  };
}

function asPrincipal(text: string): VaultSettings['jwtPrincipal'] | undefined {
  return text === 'pod' || text === 'serviceAccount' ? text : undefined;
}
