import { SecretError } from '../../../core/errors.ts';
import type { StoreAuth, StoreConfig } from '../../../core/host-store.ts';
import { Redacted } from '../../../core/redacted.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import { maxAddresses, normalizeNamespace, parseOperatorAddress } from '../class/connection.ts';
import { normalizeMount } from '../class/login.ts';
import { isCleanPath, isHostName } from '../class/tls.ts';
import {
  type AuthMethod,
  type VaultIdentity,
  type VaultLogin,
  type VaultTls,
  defaultMounts,
} from '../types.ts';
import { readCredentialFile } from './keys.ts';

/** Who a host without Kubernetes is in Vault, as its configuration says. */
export type HostIdentity = VaultIdentity & {
  /** For the log and the audit: `the approle login of the store vault`. */
  readonly description: string;
  /** What the credential depends on. It can include secrets. */
  readonly fingerprintFields: Readonly<Record<string, string | undefined>>;
};

/** A method's part of a {@link HostIdentity}. */
type MethodPart = Pick<HostIdentity, 'getCredential' | 'fingerprintFields'> & {
  readonly role?: string;
  readonly tls?: Pick<VaultTls, 'certFile' | 'keyFile'>;
};

type Reader = {
  readonly auth: StoreAuth;
  /** A parameter of the method; an empty one counts as absent. */
  readonly text: (name: string) => string | undefined;
  /** The same, for a path. */
  readonly file: (name: string) => string | undefined;
  /** The same, for a parameter that the method needs. */
  readonly required: <T>(value: T | undefined, name: string, hint: string) => T;
  readonly fail: (problem: string, hint: string) => never;
};

type HostMethod = Exclude<AuthMethod, 'kubernetes'>;

const methods: Readonly<Record<HostMethod, (reader: Reader) => MethodPart>> = {
  token: readToken,
  approle: readAppRole,
  jwt: readJwt,
  cert: readCertificate,
};

/**
 * Reads who the host is. It opens no file: each login reads the files again.
 * @param store its name in dso.yaml, for messages
 * @throws SecretError NOT_CONFIGURED, which names the key of dso.yaml
 */
export function readHostIdentity(
  dialect: VaultLogin['dialect'],
  config: StoreConfig,
  store: string,
): HostIdentity {
  const fail = (problem: string, hint: string): never => {
    const message = `the store ${sanitizeUserText(store)}: ${problem}`;
    throw new SecretError('NOT_CONFIGURED', message, { hint });
  };
  const {
    auth = fail('it has no auth', 'write auth into its configuration, or run docker dso init'),
  } = config;
  const method = isHostMethod(auth.method)
    ? auth.method
    : fail(
        `auth.method is not known: ${sanitizeUserText(auth.method)}`,
        `use one of ${Object.keys(methods).join(', ')}`,
      );
  const reader = createReader(auth, fail);
  const { role, tls, ...part } = methods[method](reader);
  const addresses = readAddresses(config, store, fail);
  if (method === 'cert' && !addresses.every((address) => address.startsWith('https:')))
    fail('auth.method is cert, which needs TLS', 'use addresses that begin with https://');
  const namespace = readNamespace(config, fail);
  return {
    login: {
      ...{ dialect, addresses, method, isHost: true, leaseScope: 'pod', audience: dialect },
      ...(namespace !== undefined && { namespace }),
      mount: readMount(method, reader),
      ...(role !== undefined && { role }),
      tls: { ...readTls(config, fail), ...tls },
    },
    description: `the ${method} login of the store ${sanitizeUserText(store)}`,
    ...part,
  };
}

function isHostMethod(method: string): method is HostMethod {
  return Object.hasOwn(methods, method);
}

function createReader(auth: StoreAuth, fail: Reader['fail']): Reader {
  const text = (name: string): string | undefined => {
    const value = auth.params.get(name)?.trim() ?? '';
    return value === '' ? undefined : value;
  };
  return {
    ...{ auth, fail, text },
    file: (name) => checkPath(text(name), `auth.params.${name}`, fail),
    required: (value, name, hint) => value ?? fail(`auth.params.${name} is missing`, hint),
  };
}

function checkPath(
  path: string | undefined,
  key: string,
  fail: Reader['fail'],
): string | undefined {
  if (path === undefined || isCleanPath(path)) return path;
  return fail(
    `${key} is not an absolute, clean path: ${sanitizeUserText(path)}`,
    'write the path from / on, without "." and ".."',
  );
}

function readAddresses(
  { addresses = [] }: StoreConfig,
  store: string,
  fail: Reader['fail'],
): readonly string[] {
  if (addresses.length === 0)
    fail('it has no address', 'write address into its configuration, or run docker dso init');
  if (addresses.length > maxAddresses)
    fail(`it has ${addresses.length} addresses`, `list at most ${maxAddresses}`);
  const setting = `the store ${sanitizeUserText(store)}: the address`;
  return [...new Set(addresses.map((address) => parseOperatorAddress(address, setting)))];
}

function readNamespace({ namespace }: StoreConfig, fail: Reader['fail']): string | undefined {
  if (namespace === undefined) return undefined;
  const problem = `namespace is not a namespace: ${sanitizeUserText(namespace)}`;
  return normalizeNamespace(namespace) ?? fail(problem, 'write it like team-a/shop');
}

function readTls({ caFile, tlsServerName }: StoreConfig, fail: Reader['fail']): VaultTls {
  checkPath(caFile, 'ca_file', fail);
  if (tlsServerName !== undefined && !isHostName(tlsServerName))
    fail(
      `tls_server_name is not a host name: ${sanitizeUserText(tlsServerName)}`,
      'write the name that the certificate of the server has',
    );
  return {
    ...(caFile !== undefined && { caFile }),
    ...(tlsServerName !== undefined && { serverName: tlsServerName }),
  };
}

function readMount(method: HostMethod, { text, fail }: Reader): string {
  const mount = text('mount');
  if (mount === undefined) return defaultMounts[method];
  const problem = `auth.params.mount is not a path: ${sanitizeUserText(mount)}`;
  return normalizeMount(mount) ?? fail(problem, `write it like ${defaultMounts[method]}`);
}

const giveFile = (path: string): string => `put it into ${sanitizeUserText(path)}`;

function readToken(reader: Reader): MethodPart {
  const { auth, file, fail } = reader;
  const token = auth.credentials.get('token');
  const tokenFile = file('token_file');
  if (token !== undefined && tokenFile !== undefined)
    fail('auth.params has token and token_file', 'remove one of them');
  if (tokenFile !== undefined)
    return {
      getCredential: async () => ({
        kind: 'token',
        token: await readCredentialFile(tokenFile, 'token', giveFile(tokenFile)),
      }),
      fingerprintFields: { identity: 'host-token', tokenFile },
    };
  const given = reader.required(token, 'token_file', 'name the file with the token');
  return {
    getCredential: () => Promise.resolve({ kind: 'token', token: given }),
    fingerprintFields: { identity: 'host-token', token: given.reveal() },
  };
}

/** A role without `bind_secret_id` has no secret id. */
function readAppRole({ auth, text, file, required, fail }: Reader): MethodPart {
  const hint = 'write it there, or run docker dso init';
  const roleId = required(text('role_id'), 'role_id', hint);
  const secretId = auth.credentials.get('secret_id');
  const secretIdFile = file('secret_id_file');
  if (secretId !== undefined && secretIdFile !== undefined)
    fail('auth.params has secret_id and secret_id_file', 'remove one of them');
  return {
    getCredential: async () => {
      const secret =
        secretIdFile === undefined
          ? secretId
          : await readCredentialFile(
              secretIdFile,
              'secret id',
              `${giveFile(secretIdFile)}, or give it to docker dso init`,
            );
      return {
        kind: 'approle',
        roleId: new Redacted(roleId),
        ...(secret !== undefined && { secretId: secret }),
      };
    },
    fingerprintFields: {
      identity: 'host-approle',
      roleId,
      secretId: secretId?.reveal(),
      secretIdFile,
    },
  };
}

function readJwt({ text, file, required }: Reader): MethodPart {
  const role = required(text('role'), 'role', 'name a role of the method jwt');
  const tokenFile = required(file('token_file'), 'token_file', 'name the file with the JWT');
  return {
    role,
    getCredential: async () => ({
      kind: 'jwt',
      token: await readCredentialFile(tokenFile, 'JWT', giveFile(tokenFile)),
    }),
    fingerprintFields: { identity: 'host-jwt', tokenFile },
  };
}

/** Without a name Vault takes any role that trusts the certificate. */
function readCertificate({ text, file, required }: Reader): MethodPart {
  const hint = 'the method cert needs a client certificate and its key, both in PEM';
  const certFile = required(file('cert_file'), 'cert_file', hint);
  const keyFile = required(file('key_file'), 'key_file', hint);
  const role = text('name');
  return {
    ...(role !== undefined && { role }),
    tls: { certFile, keyFile },
    getCredential: () => Promise.resolve({ kind: 'cert' }),
    fingerprintFields: { identity: 'host-certificate' },
  };
}
