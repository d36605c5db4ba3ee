import * as z from 'zod';
import { Redacted } from '../../core/redacted.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { parseEndpoint, regionEndpoint } from '../../http/endpoint.ts';
import {
  type EnvReader,
  createEnvReader,
  createSettingParser,
  findSetting,
} from '../shared/env.ts';

const { parseRate, parseSetting, settingError } = createSettingParser('cce');

/**
 * The identity of the cluster: the first one that is configured. It serves classes without pod
 * OIDC.
 */
export type ClusterIdentity =
  | { readonly kind: 'id-token'; readonly idpId: string; readonly tokenFile: string }
  | {
      readonly kind: 'keys';
      readonly accessKey: string;
      readonly secretKey: Redacted;
      readonly securityToken?: Redacted;
    }
  | { readonly kind: 'agency' };

/** The operator's configuration of `cce`. */
export type CceConfig = {
  /** Absent: every mount fails with NOT_CONFIGURED. */
  readonly region?: RegionConfig;
  readonly metadata: URL;
  readonly identity: ClusterIdentity;
  readonly perSecond: number;
  readonly burst: number;
};

/** The endpoints of a region: the usual ones, or those that the operator sets. */
export type RegionConfig = {
  readonly name: string;
  readonly csms: URL;
  readonly iam: URL;
  readonly sts: URL;
  readonly projectId?: string;
};

const projectIdSchema = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);

/**
 * Reads the variables of Huawei Cloud's SDKs, and those of Keyferry. An empty variable counts as
 * absent. `docs/providers/cce.md` lists them.
 * @throws SecretError NOT_CONFIGURED with the name of the variable
 */
export function readCceConfig(env: Readonly<Record<string, string | undefined>>): CceConfig {
  const get = createEnvReader(env);
  const rate = (name: string, fallback: number): number =>
    parseRate({ name, text: get(name) ?? String(fallback) });
  const region = readRegion(get);
  return {
    ...(region && { region }),
    metadata:
      readEndpoint('HUAWEICLOUD_SDK_METADATA_ENDPOINT', get, true) ??
      new URL('http://169.254.169.254'),
    identity: readIdentity(get),
    perSecond: rate('KEYFERRY_CCE_RATE', 5),
    burst: Math.max(1, rate('KEYFERRY_CCE_BURST', 200)),
  };
}

function readRegion(get: EnvReader): RegionConfig | undefined {
  const name = get('HUAWEICLOUD_SDK_REGION');
  if (name === undefined) return undefined;
  const projectId = findSetting(get, 'HUAWEICLOUD_SDK_PROJECT_ID');
  return {
    name,
    csms:
      readEndpoint('HUAWEICLOUD_SDK_CSMS_ENDPOINT', get) ??
      regionalUrl('kms.{region}.myhuaweicloud.com', name),
    iam:
      readEndpoint('HUAWEICLOUD_SDK_IAM_ENDPOINT', get) ?? new URL('https://iam.myhuaweicloud.com'),
    sts:
      readEndpoint('HUAWEICLOUD_SDK_STS_ENDPOINT', get) ??
      regionalUrl('sts.{region}.myhuaweicloud.com', name),
    ...(projectId !== undefined && {
      projectId: parseSetting(projectId, projectIdSchema, 'the id of a project'),
    }),
  };
}

function readEndpoint(name: string, get: EnvReader, allowHttp = false): URL | undefined {
  const text = get(name);
  return text === undefined
    ? undefined
    : parseEndpoint(text, { setting: `cce: ${name}`, allowHttp });
}

function regionalUrl(template: string, region: string): URL {
  try {
    return regionEndpoint(template, region);
  } catch {
    throw settingError(
      'HUAWEICLOUD_SDK_REGION',
      `is not a region: ${sanitizeUserText(region)}`,
      'regions look like cn-north-4 or eu-west-101',
    );
  }
}

function readIdentity(get: EnvReader): ClusterIdentity {
  const idpId = get('HUAWEICLOUD_SDK_IDP_ID');
  const tokenFile = get('HUAWEICLOUD_SDK_ID_TOKEN_FILE');
  if (idpId !== undefined || tokenFile !== undefined)
    return {
      kind: 'id-token',
      idpId: requirePair('HUAWEICLOUD_SDK_IDP_ID', idpId, 'HUAWEICLOUD_SDK_ID_TOKEN_FILE'),
      tokenFile: requirePair('HUAWEICLOUD_SDK_ID_TOKEN_FILE', tokenFile, 'HUAWEICLOUD_SDK_IDP_ID'),
    };
  for (const [accessKeyName, secretKeyName, tokenName] of [
    ['HUAWEICLOUD_SDK_AK', 'HUAWEICLOUD_SDK_SK', 'HUAWEICLOUD_SDK_SECURITY_TOKEN'],
    ['HUAWEI_ACCESS_KEY_ID', 'HUAWEI_SECRET_ACCESS_KEY', ''],
  ] as const) {
    const accessKey = get(accessKeyName);
    const secretKey = get(secretKeyName);
    if (accessKey === undefined && secretKey === undefined) continue;
    const securityToken = get(tokenName);
    return {
      kind: 'keys',
      accessKey: requirePair(accessKeyName, accessKey, secretKeyName),
      secretKey: new Redacted(requirePair(secretKeyName, secretKey, accessKeyName)),
      ...(securityToken !== undefined && { securityToken: new Redacted(securityToken) }),
    };
  }
  return { kind: 'agency' };
}

function requirePair(name: string, value: string | undefined, otherName: string): string {
  if (value !== undefined) return value;
  throw settingError(otherName, `is set, but ${name} is not`, 'set both or none');
}
