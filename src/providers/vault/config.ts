import { maxAddresses, operatorAddress, splitList } from './address.ts';
import { readAllowedAddresses, readAllowedFiles } from './allow-list.ts';
import type { VaultConfig } from './config-type.ts';
import { cleanNamespace } from './connection.ts';
import { defaultMounts, type VaultFacts } from './facts.ts';
import { cleanMount } from './login-parameters.ts';
import type { VaultLogin, VaultTls } from './login.ts';
import { createSettingReader, type SettingReader } from './setting-reader.ts';
import { isHostName } from './tls-parameters.ts';

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
