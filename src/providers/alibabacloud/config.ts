import { X509Certificate } from 'node:crypto';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import { Redacted } from '../../core/redacted.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import { classEndpoint, parseEndpoint, regionEndpoint } from '../../http/endpoint.ts';
import { isRegion } from '../shared/class/parameters.ts';
import { type EnvReader, createEnvReader, createSettingParser } from '../shared/env.ts';
import { oidcProviderArnShape, roleArnShape } from './class/object-ref.ts';
import type { AlibabaCloudConfig, ServiceAddress } from './types.ts';

/**
 * The certificates in a directory, PEM, one or more a file, as a mounted ConfigMap has them; what begins with a dot is passed over. Looked at when
 * the process starts, so that a wrong file stops it and not the first mount.
 * @param setting the variable that names the directory, for messages
 * @throws SecretError NOT_CONFIGURED
 */
export function readGatewayCa(setting: string, directory: string): readonly string[] {
  const refuse = (why: string): never => {
    throw new SecretError('NOT_CONFIGURED', `alibabacloud: ${setting}: ${why}`, {
      hint: 'mount a directory of PEM files, such as a ConfigMap',
    });
  };
  const list = (): string[] => {
    try {
      return readdirSync(directory)
        .filter((name) => !name.startsWith('.') && statSync(join(directory, name)).isFile())
        .sort();
    } catch {
      return refuse(`${directory} cannot be read`);
    }
  };
  const certificates = list().flatMap((name) => {
    const path = join(directory, name);
    const blocks = readFileSync(path, 'utf8').match(
      /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g,
    );
    if (blocks === null) return refuse(`${path} holds no certificate`);
    if (!blocks.every(isCertificate))
      return refuse(`${path} holds a certificate that cannot be read`);
    return blocks;
  });
  return certificates.length > 0 ? certificates : refuse(`${directory} holds no certificate`);
}

function isCertificate(pem: string): boolean {
  try {
    new X509Certificate(pem);
    return true;
  } catch {
    return false;
  }
}

export const { parseSetting: checked, settingError } = createSettingParser('alibabacloud');

/** Whose rights serve pods that bring no identity of their own: the first that is configured. */
export type SharedCredentialSource =
  /** The provider's own token, exchanged for a session of a role. */
  | {
      readonly kind: 'rrsa';
      readonly roleArn: string;
      readonly oidcProviderArn: string;
      readonly sessionName: string;
      readonly tokenFile: string;
    }
  | {
      readonly kind: 'keys-role';
      readonly accessKeyId: string;
      readonly accessKeySecret: Redacted;
      readonly roleArn: string;
      readonly sessionName: string;
      readonly durationSeconds: number;
    }
  | { readonly kind: 'keys'; readonly accessKeyId: string; readonly accessKeySecret: Redacted }
  | { readonly kind: 'worker-role' };

const tokenFile = '/var/run/secrets/tokens/csi-secrets-store-provider-alibabacloud';
const sessionSeconds = z.coerce.number().int().min(900).max(43_200);
const sessionName = z.string().regex(/^[\w.@=-]{2,64}$/);
const oidcForm = 'an ARN such as acs:ram::1234567890:oidc-provider/ack-rrsa-c0123';

/** The cluster's OIDC provider in RAM. @throws SecretError NOT_CONFIGURED */
export function readOidcProvider(get: EnvReader): string | undefined {
  const arn = get('ALICLOUD_OIDC_PROVIDER_ARN');
  if (arn !== undefined)
    return checked(
      'ALICLOUD_OIDC_PROVIDER_ARN',
      arn,
      z.string().regex(oidcProviderArnShape),
      oidcForm,
    );
  const account = get('ALICLOUD_ACCOUNT_ID');
  const cluster = get('ALICLOUD_CLUSTER_ID');
  if (account === undefined || cluster === undefined) return undefined;
  const built = `acs:ram::${account}:oidc-provider/ack-rrsa-${cluster}`;
  if (oidcProviderArnShape.test(built)) return built;
  throw settingError(
    'ALICLOUD_ACCOUNT_ID or ALICLOUD_CLUSTER_ID',
    'is not what its name says',
    'the account is a number, the cluster the id of an ACK cluster',
  );
}

/** In the order of the vendor's provider. @throws SecretError NOT_CONFIGURED */
export function readSharedCredentialSource(
  get: EnvReader,
  oidcProviderArn: string | undefined,
): SharedCredentialSource {
  const keys = readKeys(get);
  const roleArn = get('ALICLOUD_ROLE_ARN');
  if (roleArn === undefined)
    return keys === undefined ? { kind: 'worker-role' } : { kind: 'keys', ...keys };
  const role = {
    roleArn: checked(
      'ALICLOUD_ROLE_ARN',
      roleArn,
      z.string().regex(roleArnShape),
      'an ARN such as acs:ram::1234567890:role/reader',
    ),
    sessionName: checked(
      'ALICLOUD_ROLE_SESSION_NAME',
      get('ALICLOUD_ROLE_SESSION_NAME') ?? 'csi-secrets-store-provider-alibaba',
      sessionName,
      '2 to 64 letters, digits and ".@-_="',
    ),
  };
  if (oidcProviderArn !== undefined)
    return {
      ...{ kind: 'rrsa', ...role, oidcProviderArn },
      tokenFile: get('ALICLOUD_OIDC_TOKEN_FILE') ?? tokenFile,
    };
  // Whoever names a role does not mean that of the node.
  if (keys === undefined)
    throw settingError(
      'ALICLOUD_ROLE_ARN',
      'is set, but nothing to assume the role with',
      'set ALICLOUD_OIDC_PROVIDER_ARN, or ACCESS_KEY_ID and SECRET_ACCESS_KEY',
    );
  const seconds = get('ALICLOUD_ROLE_SESSION_EXPIRATION') ?? '3600';
  const durationSeconds = checked(
    'ALICLOUD_ROLE_SESSION_EXPIRATION',
    seconds,
    sessionSeconds,
    'a number of seconds from 900 to 43200',
  );
  return { kind: 'keys-role', ...keys, ...role, durationSeconds };
}

function readKeys(get: EnvReader): { accessKeyId: string; accessKeySecret: Redacted } | undefined {
  const id = get('ACCESS_KEY_ID');
  const secret = get('SECRET_ACCESS_KEY');
  if (id === undefined && secret === undefined) return undefined;
  if (id === undefined || secret === undefined)
    throw settingError(
      id === undefined ? 'SECRET_ACCESS_KEY' : 'ACCESS_KEY_ID',
      `is set, but ${id === undefined ? 'ACCESS_KEY_ID' : 'SECRET_ACCESS_KEY'} is not`,
      'set both or none',
    );
  return { accessKeyId: id, accessKeySecret: new Redacted(secret) };
}

/** What an operator configures for `alibabacloud`. */
export type AlibabaConfig = {
  readonly cloud: AlibabaCloudConfig;
  /** For classes that name none; absent: the node's own. */
  readonly region?: string;
  /** The cluster's OIDC provider in RAM; without it pods' tokens are worth nothing. */
  readonly oidcProviderArn?: string;
  readonly shared: SharedCredentialSource;
};

type Environment = Readonly<Record<string, string | undefined>>;

const positive = z.coerce.number().positive().max(10_000);
const anyRegion = 'cn-hangzhou';

/**
 * Reads the variables of the vendor's provider, and ours beside them; empty ones count as absent. `docs/providers/alibabacloud.md` lists
 * them.
 * @throws SecretError NOT_CONFIGURED naming the variable
 */
export function readAlibabaConfig(env: Environment): AlibabaConfig {
  const get = createEnvReader(env);
  const region = get('ALICLOUD_REGION');
  if (region !== undefined && !isRegion(region))
    throw settingError(
      'ALICLOUD_REGION',
      `is no region: ${sanitizeExternalText(region)}`,
      'regions look like cn-hangzhou',
    );
  const oidcProviderArn = readOidcProvider(get);
  return {
    cloud: readCloud(get, region),
    ...(region !== undefined && { region }),
    ...(oidcProviderArn !== undefined && { oidcProviderArn }),
    shared: readSharedCredentialSource(get, oidcProviderArn),
  };
}

function readCloud(get: EnvReader, region: string | undefined): AlibabaCloudConfig {
  const rate = (name: string, otherwise: number): number =>
    checked(name, get(name) ?? String(otherwise), positive, 'a number above 0');
  const address = (name: string, otherwise: string): ServiceAddress => {
    const text = get(name) ?? otherwise;
    if (!text.includes('{region}'))
      return parseEndpoint(text, { setting: `alibabacloud: ${name}` });
    regional(name, text, anyRegion);
    return text;
  };
  const sts = address('KEYFERRY_ALIBABACLOUD_STS_ENDPOINT', 'sts.aliyuncs.com');
  const metadata = get('KEYFERRY_ALIBABACLOUD_METADATA_ENDPOINT') ?? 'http://100.100.100.200';
  const gatewayCa = get('KEYFERRY_ALIBABACLOUD_GATEWAY_CA_DIR');
  return {
    kms: address('KEYFERRY_ALIBABACLOUD_KMS_ENDPOINT', 'kms-vpc.{region}.aliyuncs.com'),
    oos: address('KEYFERRY_ALIBABACLOUD_OOS_ENDPOINT', 'oos-vpc.{region}.aliyuncs.com'),
    sts: sts instanceof URL ? sts : stsOf(sts, region),
    metadata: parseEndpoint(metadata, {
      setting: 'alibabacloud: KEYFERRY_ALIBABACLOUD_METADATA_ENDPOINT',
      allowHttp: true,
    }),
    allowedEndpoints: readAllowed(get),
    gatewayCa:
      gatewayCa === undefined
        ? []
        : readGatewayCa('KEYFERRY_ALIBABACLOUD_GATEWAY_CA_DIR', gatewayCa),
    perSecond: rate('KEYFERRY_ALIBABACLOUD_RATE', 10),
    burst: Math.max(1, rate('KEYFERRY_ALIBABACLOUD_BURST', 100)),
  };
}

function stsOf(template: string, region: string | undefined): URL {
  const name = 'KEYFERRY_ALIBABACLOUD_STS_ENDPOINT';
  if (region !== undefined) return regional(name, template, region);
  throw settingError(
    name,
    'has {region} in it, but ALICLOUD_REGION is not set',
    'set ALICLOUD_REGION',
  );
}

function regional(name: string, template: string, region: string): URL {
  try {
    return regionEndpoint(template, region);
  } catch {
    throw settingError(
      name,
      `is no host: ${sanitizeExternalText(template)}`,
      'write it like kms-vpc.{region}.aliyuncs.com',
    );
  }
}

/** Entries are looked at now, with any endpoint, so that a faulty one stops the start and not a mount. */
function readAllowed(get: EnvReader): readonly string[] {
  const name = 'KEYFERRY_ALIBABACLOUD_KMS_ALLOWED_ENDPOINTS';
  const entries = (get(name) ?? '')
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  for (const entry of entries) {
    try {
      classEndpoint('kms.invalid', [entry]);
    } catch (error) {
      if (error instanceof SecretError && error.code === 'NOT_CONFIGURED')
        throw settingError(
          name,
          `has an entry that is no host: ${sanitizeExternalText(entry)}`,
          'write host, host:port or *.domain',
        );
    }
  }
  return entries;
}
