import * as z from 'zod';
import { SecretError } from '../../errors/secret-error.ts';
import { quoteForeign } from '../../errors/status-text.ts';
import { classEndpoint, parseEndpoint, regionEndpoint } from '../../http/endpoint.ts';
import type { AlibabaCloudConfig, ServiceAddress } from './config-type.ts';
import { readGatewayCa } from './gateway-ca.ts';
import { isRegion } from '../region.ts';
import { reader, type Get } from '../setting.ts';
import { checked, faulty } from './setting.ts';
import { readOidcProvider, readSharedSource, type SharedSource } from './shared-source.ts';

/** What an operator configures for `alibabacloud`. */
export type AlibabaConfig = {
  readonly cloud: AlibabaCloudConfig;
  /** For classes that name none; absent: the node's own. */
  readonly region?: string;
  /** The cluster's OIDC provider in RAM; without it pods' tokens are worth nothing. */
  readonly oidcProviderArn?: string;
  readonly shared: SharedSource;
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
  const get = reader(env);
  const region = get('ALICLOUD_REGION');
  if (region !== undefined && !isRegion(region))
    throw faulty('ALICLOUD_REGION', `is no region: ${quoteForeign(region)}`, 'regions look like cn-hangzhou');
  const oidcProviderArn = readOidcProvider(get);
  return {
    cloud: readCloud(get, region),
    ...(region !== undefined && { region }),
    ...(oidcProviderArn !== undefined && { oidcProviderArn }),
    shared: readSharedSource(get, oidcProviderArn),
  };
}

function readCloud(get: Get, region: string | undefined): AlibabaCloudConfig {
  const rate = (name: string, otherwise: number): number =>
    checked(name, get(name) ?? String(otherwise), positive, 'a number above 0');
  const address = (name: string, otherwise: string): ServiceAddress => {
    const text = get(name) ?? otherwise;
    if (!text.includes('{region}')) return parseEndpoint(text, { setting: `alibabacloud: ${name}` });
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
      gatewayCa === undefined ? [] : readGatewayCa('KEYFERRY_ALIBABACLOUD_GATEWAY_CA_DIR', gatewayCa),
    perSecond: rate('KEYFERRY_ALIBABACLOUD_RATE', 10),
    burst: Math.max(1, rate('KEYFERRY_ALIBABACLOUD_BURST', 100)),
  };
}

function stsOf(template: string, region: string | undefined): URL {
  const name = 'KEYFERRY_ALIBABACLOUD_STS_ENDPOINT';
  if (region !== undefined) return regional(name, template, region);
  throw faulty(name, 'has {region} in it, but ALICLOUD_REGION is not set', 'set ALICLOUD_REGION');
}

function regional(name: string, template: string, region: string): URL {
  try {
    return regionEndpoint(template, region);
  } catch {
    throw faulty(
      name,
      `is no host: ${quoteForeign(template)}`,
      'write it like kms-vpc.{region}.aliyuncs.com',
    );
  }
}

/** Entries are looked at now, with any endpoint, so that a faulty one stops the start and not a mount. */
function readAllowed(get: Get): readonly string[] {
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
        throw faulty(
          name,
          `has an entry that is no host: ${quoteForeign(entry)}`,
          'write host, host:port or *.domain',
        );
    }
  }
  return entries;
}
