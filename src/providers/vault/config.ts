import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { classEndpoint } from '../../http/endpoint.ts';
import { type Setting, createEnvReader, createSettingParser, findSetting } from '../shared/env.ts';
import { type NameGlob, compileNameGlob } from '../../formats/name-glob.ts';
import {
  maxAddresses,
  normalizeNamespace,
  parseOperatorAddress,
  splitList,
} from './class/connection.ts';
import { normalizeMount } from './class/login.ts';
import { isCleanPath, isHostName, parseGoBoolean } from './class/tls.ts';
import { type VaultNodeFacts, type VaultLogin, type VaultTls, defaultMounts } from './types.ts';

type SettingReader = ReturnType<typeof createSettingReader>;

/**
 * Reads variables by their names without a prefix. Empty variables count as absent. A value that
 * cannot be used throws NOT_CONFIGURED, which names the variable.
 */
function createSettingReader(
  dialect: VaultLogin['dialect'],
  env: Readonly<Record<string, string | undefined>>,
) {
  const get = createEnvReader(env);
  const { settingError, parseSetting, parseRate } = createSettingParser(dialect);
  const ownPrefixes =
    dialect === 'openbao' ? ['KEYFERRY_OPENBAO_', 'KEYFERRY_VAULT_'] : ['KEYFERRY_VAULT_'];
  const vendorPrefixes = dialect === 'openbao' ? ['BAO_', 'VAULT_'] : ['VAULT_'];
  const find = (prefixes: readonly string[], name: string): Setting | undefined =>
    findSetting(get, ...prefixes.map((prefix) => prefix + name));

  /** @param expected the value to give, for the message */
  const read = <T>(
    setting: Setting | undefined,
    parse: (text: string) => T | undefined,
    expected: string,
  ): T | undefined => setting && parseSetting(setting, parse, expected);

  return {
    /**
     * Finds a variable of Keyferry: `ROLE_ID_FILE` is `KEYFERRY_VAULT_ROLE_ID_FILE`. For openbao
     * `KEYFERRY_OPENBAO_...` wins.
     */
    getOwn: (name: string) => find(ownPrefixes, name),
    /**
     * Finds a variable of Keyferry, else of the vendors' clients: `ADDR` is `VAULT_ADDR`. For
     * openbao `BAO_...` wins.
     */
    getAny: (name: string) => find([...ownPrefixes, ...vendorPrefixes], name),
    read,
    file: (setting: Setting | undefined) =>
      read(setting, (text) => (isCleanPath(text) ? text : undefined), 'an absolute, clean path'),
    flag: (setting: Setting | undefined) => read(setting, parseGoBoolean, 'true or false') ?? false,
    rate: (setting: Setting | undefined, fallback: number) =>
      setting === undefined ? fallback : parseRate(setting),
    settingError,
  };
}

/**
 * `ALLOWED_ADDRESSES`: what classes may name besides the configured addresses. This checks the
 * entries with any address, so that a wrong one stops the start and not a mount.
 * @throws SecretError NOT_CONFIGURED
 */
function readAllowedAddresses({ getOwn, settingError }: SettingReader): readonly string[] {
  const setting = getOwn('ALLOWED_ADDRESSES');
  if (setting === undefined) return [];
  const entries = splitList(setting.text);
  for (const entry of entries) {
    if (isValidEntry(entry)) continue;
    const message = `has an entry that is not an address: ${sanitizeUserText(entry)}`;
    throw settingError(
      setting.name,
      message,
      'write host:port, http://host:port, *.domain or unix:///path',
    );
  }
  return entries;
}

function isValidEntry(entry: string): boolean {
  try {
    if (entry.startsWith('unix:')) parseOperatorAddress(entry, '');
    else classEndpoint('vault.invalid', [entry]);
    return true;
  } catch (thrown) {
    return thrown instanceof SecretError && thrown.code !== 'NOT_CONFIGURED';
  }
}

/**
 * `ALLOWED_FILES`: files that classes may name, and directories with everything below. `*` stops at
 * `/`, `**` does not.
 * @throws SecretError NOT_CONFIGURED
 */
function readAllowedFiles({ getOwn, settingError }: SettingReader): readonly NameGlob[] {
  const setting = getOwn('ALLOWED_FILES');
  if (setting === undefined) return [];
  return splitList(setting.text).flatMap((entry) => {
    const path = entry.replace(/\/+$/, '');
    if (isCleanPath(path)) return [path, `${path}/**`].map(compileNameGlob);
    throw settingError(
      setting.name,
      `has an entry that is not an absolute, clean path: ${sanitizeUserText(entry)}`,
    );
  });
}

/** The operator's limits for calls to Vault. */
export type VaultRateLimits = {
  /** Calls a second, for the addresses of each login. */
  readonly perSecond: number;
  /** How many calls at once after a pause. */
  readonly burst: number;
};

/** The operator's settings of a provider. */
export type VaultSettings = VaultRateLimits & {
  readonly nodeFacts: VaultNodeFacts;
  readonly credentialFiles: CredentialFiles;
  /** If the driver sends no token, Keyferry requests one from the API server. */
  readonly tokenRequests: boolean;
  /**
   * For roles that can bind the pod. `serviceAccount`: no role does, so that all pods of an account
   * are one principal.
   */
  readonly jwtPrincipal: 'pod' | 'serviceAccount';
};

/**
 * The operator's credentials, besides a client certificate. Keyferry reads the files at each login.
 */
export type CredentialFiles = {
  readonly roleIdFile?: string;
  readonly secretIdFile?: string;
  readonly tokenFile?: string;
};

/**
 * Reads the variables of Keyferry, else those of the vendors' clients. `docs/providers/vault.md`
 * lists them.
 * @throws SecretError NOT_CONFIGURED, which names the variable
 */
export function readVaultSettings(
  dialect: VaultLogin['dialect'],
  env: Readonly<Record<string, string | undefined>>,
): VaultSettings {
  const settings = createSettingReader(dialect, env);
  const { getOwn, read, flag } = settings;
  return {
    ...readRateLimits(settings),
    nodeFacts: readNodeFacts(dialect, settings),
    credentialFiles: readCredentialFiles(settings),
    tokenRequests: flag(getOwn('TOKEN_REQUESTS')),
    jwtPrincipal:
      read(getOwn('JWT_PRINCIPAL'), parseJwtPrincipal, 'pod or serviceAccount') ?? 'pod',
  };
}

/** The limits alone, for a host without Kubernetes. @throws SecretError NOT_CONFIGURED */
export function readVaultRateLimits(
  dialect: VaultLogin['dialect'],
  env: Readonly<Record<string, string | undefined>>,
): VaultRateLimits {
  return readRateLimits(createSettingReader(dialect, env));
}

function readRateLimits({ getOwn, rate }: SettingReader): VaultRateLimits {
  return { perSecond: rate(getOwn('RATE'), 50), burst: Math.max(1, rate(getOwn('BURST'), 500)) };
}

function readNodeFacts(dialect: string, settings: SettingReader): VaultNodeFacts {
  const { getOwn, getAny, read, flag, settingError } = settings;
  const { name = '', text = '' } = getAny('ADDR') ?? {};
  const addresses = splitList(text);
  if (addresses.length > maxAddresses)
    throw settingError(name, `has more than ${maxAddresses} addresses`);
  const namespace = read(getAny('NAMESPACE'), normalizeNamespace, 'a namespace like team-a/shop');
  const mount = (method: string): string | undefined =>
    read(getOwn(method), normalizeMount, 'a path like kubernetes');
  const podTokenMount = mount('MOUNT');
  return {
    addresses: [
      ...new Set(addresses.map((address) => parseOperatorAddress(address, `${dialect}: ${name}`))),
    ],
    ...(namespace !== undefined && { namespace }),
    mounts: {
      kubernetes: podTokenMount ?? defaultMounts.kubernetes,
      jwt: podTokenMount ?? defaultMounts.jwt,
      approle: mount('APPROLE_MOUNT') ?? defaultMounts.approle,
      cert: mount('CERT_MOUNT') ?? defaultMounts.cert,
      token: defaultMounts.token,
    },
    tls: readTls(settings),
    allowedAddresses: [...addresses, ...readAllowedAddresses(settings)],
    allowedFiles: readAllowedFiles(settings),
    allowSkipVerify: flag(getOwn('ALLOW_SKIP_VERIFY')),
  };
}

function readTls({ getAny, read, file, flag, settingError }: SettingReader): VaultTls {
  const caFile = file(getAny('CACERT'));
  const caDirectory = file(getAny('CAPATH'));
  const serverName = read(
    getAny('TLS_SERVER_NAME'),
    (text) => (isHostName(text) ? text : undefined),
    'the name of a host',
  );
  const [cert, key] = [getAny('CLIENT_CERT'), getAny('CLIENT_KEY')];
  const unpaired = cert === undefined || key === undefined ? (cert ?? key) : undefined;
  if (unpaired !== undefined)
    throw settingError(unpaired.name, 'is set alone', 'set certificate and key, or none');
  const [certFile, keyFile] = [file(cert), file(key)];
  return {
    ...(flag(getAny('SKIP_VERIFY')) && { skipVerify: true }),
    ...(caFile !== undefined ? { caFile } : caDirectory !== undefined && { caDirectory }),
    ...(serverName !== undefined && { serverName }),
    ...(certFile !== undefined && keyFile !== undefined && { certFile, keyFile }),
  };
}

function readCredentialFiles({ getOwn, file, settingError }: SettingReader): CredentialFiles {
  const roleIdFile = file(getOwn('ROLE_ID_FILE'));
  const secretIdFile = file(getOwn('SECRET_ID_FILE'));
  const tokenFile = file(getOwn('TOKEN_FILE'));
  if (secretIdFile !== undefined && roleIdFile === undefined)
    throw settingError(
      'KEYFERRY_VAULT_SECRET_ID_FILE',
      'is set alone',
      'set KEYFERRY_VAULT_ROLE_ID_FILE, too',
    );
  return {
    ...(roleIdFile !== undefined && { roleIdFile }),
    ...(secretIdFile !== undefined && { secretIdFile }),
    ...(tokenFile !== undefined && { tokenFile }),
  };
}

function parseJwtPrincipal(text: string): VaultSettings['jwtPrincipal'] | undefined {
  return text === 'pod' || text === 'serviceAccount' ? text : undefined;
}
