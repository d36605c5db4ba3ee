import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { classEndpoint, parseEndpoint, regionEndpoint } from '../../http/endpoint.ts';
import { isRegion } from '../shared/class/parameters.ts';
import { type EnvReader, createEnvReader, createSettingParser } from '../shared/env.ts';
import {
  type SharedCredentialSource,
  readOidcProvider,
  readSharedCredentialSource,
} from './config-identity.ts';
import { readGatewayCa } from './gateway-ca.ts';
import type { AlibabaCloudConfig, ServiceAddress } from './types.ts';

const { parseRate, settingError } = createSettingParser('alibabacloud');

/** The operator's configuration of `alibabacloud`. */
export type AlibabaConfig = {
  readonly cloud: AlibabaCloudConfig;
  /** For classes that name no region. Absent: the region of the node. */
  readonly region?: string;
  /** The cluster's OIDC provider in RAM. Without it pods cannot log in with their tokens. */
  readonly oidcProviderArn?: string;
  readonly shared: SharedCredentialSource;
};

type Environment = Readonly<Record<string, string | undefined>>;

/** Checks a template before the region is known. */
const exampleRegion = 'cn-hangzhou';

/**
 * Reads the variables of the vendor's provider, and Keyferry's own. An empty variable counts as
 * absent. `docs/providers/alibabacloud.md` lists them.
 * @throws SecretError NOT_CONFIGURED with the name of the variable
 */
export function readAlibabaConfig(env: Environment): AlibabaConfig {
  const get = createEnvReader(env);
  const region = get('ALICLOUD_REGION');
  if (region !== undefined && !isRegion(region))
    throw settingError(
      'ALICLOUD_REGION',
      `is not a region: ${sanitizeUserText(region)}`,
      'regions look like cn-hangzhou',
    );
  const oidcProviderArn = readOidcProvider(get);
  return {
    cloud: readCloudConfig(get, region),
    ...(region !== undefined && { region }),
    ...(oidcProviderArn !== undefined && { oidcProviderArn }),
    shared: readSharedCredentialSource(get, oidcProviderArn),
  };
}

/**
 * Reads how to reach Alibaba Cloud.
 * @param network whether the usual addresses are those of a VPC or public ones
 * @throws SecretError NOT_CONFIGURED with the name of the variable
 */
export function readCloudConfig(
  get: EnvReader,
  region: string | undefined,
  network: 'vpc' | 'public' = 'vpc',
): AlibabaCloudConfig {
  const readRate = (name: string, fallback: number): number =>
    parseRate({ name, text: get(name) ?? String(fallback) });
  const readAddress = (name: string, fallback: string): ServiceAddress => {
    const text = get(name) ?? fallback;
    if (!text.includes('{region}'))
      return parseEndpoint(text, { setting: `alibabacloud: ${name}` });
    buildEndpoint(name, text, exampleRegion);
    return text;
  };
  const sts = readAddress('KEYFERRY_ALIBABACLOUD_STS_ENDPOINT', 'sts.aliyuncs.com');
  const metadata = get('KEYFERRY_ALIBABACLOUD_METADATA_ENDPOINT') ?? 'http://100.100.100.200';
  const gatewayCaName = 'KEYFERRY_ALIBABACLOUD_GATEWAY_CA_DIR';
  const gatewayCaDirectory = get(gatewayCaName);
  const suffix = network === 'vpc' ? '-vpc' : '';
  return {
    kms: readAddress('KEYFERRY_ALIBABACLOUD_KMS_ENDPOINT', `kms${suffix}.{region}.aliyuncs.com`),
    oos: readAddress('KEYFERRY_ALIBABACLOUD_OOS_ENDPOINT', `oos${suffix}.{region}.aliyuncs.com`),
    sts: sts instanceof URL ? sts : buildStsEndpoint(sts, region),
    metadata: parseEndpoint(metadata, {
      setting: 'alibabacloud: KEYFERRY_ALIBABACLOUD_METADATA_ENDPOINT',
      allowHttp: true,
    }),
    allowedEndpoints: readAllowedEndpoints(get),
    gatewayCa:
      gatewayCaDirectory === undefined ? [] : readGatewayCa(gatewayCaName, gatewayCaDirectory),
    perSecond: readRate('KEYFERRY_ALIBABACLOUD_RATE', 10),
    burst: Math.max(1, readRate('KEYFERRY_ALIBABACLOUD_BURST', 100)),
  };
}

function buildStsEndpoint(template: string, region: string | undefined): URL {
  const name = 'KEYFERRY_ALIBABACLOUD_STS_ENDPOINT';
  if (region !== undefined) return buildEndpoint(name, template, region);
  throw settingError(
    name,
    'has {region} in it, but ALICLOUD_REGION is not set',
    'set ALICLOUD_REGION',
  );
}

function buildEndpoint(name: string, template: string, region: string): URL {
  try {
    return regionEndpoint(template, region);
  } catch {
    throw settingError(
      name,
      `is not a host: ${sanitizeUserText(template)}`,
      'write it like kms-vpc.{region}.aliyuncs.com',
    );
  }
}

/**
 * Checks each entry with an example endpoint, so that a bad one stops the start and not a mount.
 */
function readAllowedEndpoints(get: EnvReader): readonly string[] {
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
          `has an entry that is not a host: ${sanitizeUserText(entry)}`,
          'write host, host:port or *.domain',
        );
    }
  }
  return entries;
}
