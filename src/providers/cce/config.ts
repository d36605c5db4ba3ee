import * as z from 'zod';
import { Redacted } from '../../core/redacted.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { parseEndpoint, regionEndpoint } from '../../http/endpoint.ts';
import { createEnvReader, createSettingParser, findSetting } from '../shared/env.ts';

/**
 * The identity of the cluster, or of a host: the first one that is configured. It serves classes
 * without pod OIDC.
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

/** What the operator configures of Huawei Cloud, beside its regions. */
export type CloudConfig = {
  readonly metadata: URL;
  readonly identity: ClusterIdentity;
  readonly perSecond: number;
  readonly burst: number;
};

/** The operator's configuration of `cce`. */
export type CceConfig = CloudConfig & {
  /** Absent: every mount fails with NOT_CONFIGURED. */
  readonly region?: RegionConfig;
};

/** The endpoints of a region: the usual ones, or those that the operator sets. */
export type RegionConfig = {
  readonly name: string;
  readonly csms: URL;
  readonly iam: URL;
  readonly sts: URL;
  readonly projectId?: string;
};

export const projectIdSchema = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);

type Environment = Readonly<Record<string, string | undefined>>;

/** The names of the variables of a pair of keys. */
export type KeyVariables = {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly securityToken?: string;
};

/** The variables of keys, in the order in which they are tried. */
export const keyVariables: readonly KeyVariables[] = [
  {
    accessKey: 'HUAWEICLOUD_SDK_AK',
    secretKey: 'HUAWEICLOUD_SDK_SK',
    securityToken: 'HUAWEICLOUD_SDK_SECURITY_TOKEN',
  },
  { accessKey: 'HUAWEI_ACCESS_KEY_ID', secretKey: 'HUAWEI_SECRET_ACCESS_KEY' },
];

/**
 * Reads the variables of Huawei Cloud's SDKs, and those of Keyferry. An empty variable counts as
 * absent. `docs/providers/cce.md` lists them.
 * @throws SecretError NOT_CONFIGURED with the name of the variable
 */
export function readCceConfig(env: Environment): CceConfig {
  const reader = createConfigReader('cce', env);
  const region = reader.region();
  return {
    ...(region !== undefined && { region: reader.regionConfig(region) }),
    ...reader.cloud(reader.identity(keyVariables)),
  };
}

/**
 * Makes the reader of an environment. Each function throws SecretError NOT_CONFIGURED with the name
 * of a variable that cannot be used.
 * @param provider for messages
 */
export function createConfigReader(provider: string, env: Environment) {
  const get = createEnvReader(env);
  const { parseRate, parseSetting, settingError } = createSettingParser(provider);

  const rate = (name: string, fallback: number): number =>
    parseRate({ name, text: get(name) ?? String(fallback) });

  const endpoint = (name: string, allowHttp = false): URL | undefined => {
    const text = get(name);
    return text === undefined
      ? undefined
      : parseEndpoint(text, { setting: `${provider}: ${name}`, allowHttp });
  };

  const regionalUrl = (template: string, region: string): URL => {
    try {
      return regionEndpoint(template, region);
    } catch {
      throw settingError(
        'HUAWEICLOUD_SDK_REGION',
        `is not a region: ${sanitizeUserText(region)}`,
        'regions look like cn-north-4 or eu-west-101',
      );
    }
  };

  const requirePair = (name: string, value: string | undefined, otherName: string): string => {
    if (value !== undefined) return value;
    throw settingError(otherName, `is set, but ${name} is not`, 'set both or none');
  };

  const idToken = (): ClusterIdentity | undefined => {
    const [idpName, fileName] = ['HUAWEICLOUD_SDK_IDP_ID', 'HUAWEICLOUD_SDK_ID_TOKEN_FILE'];
    const idpId = get(idpName);
    const tokenFile = get(fileName);
    if (idpId === undefined && tokenFile === undefined) return undefined;
    return {
      kind: 'id-token',
      idpId: requirePair(idpName, idpId, fileName),
      tokenFile: requirePair(fileName, tokenFile, idpName),
    };
  };

  /** The first pair of keys that is set. */
  const keys = (variables: readonly KeyVariables[]): ClusterIdentity | undefined => {
    for (const names of variables) {
      const accessKey = get(names.accessKey);
      const secretKey = get(names.secretKey);
      if (accessKey === undefined && secretKey === undefined) continue;
      const securityToken =
        names.securityToken === undefined ? undefined : get(names.securityToken);
      return {
        kind: 'keys',
        accessKey: requirePair(names.accessKey, accessKey, names.secretKey),
        secretKey: new Redacted(requirePair(names.secretKey, secretKey, names.accessKey)),
        ...(securityToken !== undefined && { securityToken: new Redacted(securityToken) }),
      };
    }
    return undefined;
  };

  return {
    keys,
    region: (): string | undefined => get('HUAWEICLOUD_SDK_REGION'),
    /** @param given takes the place of variables */
    regionConfig(
      name: string,
      given: Partial<Pick<RegionConfig, 'csms' | 'projectId'>> = {},
    ): RegionConfig {
      const projectId = findSetting(get, 'HUAWEICLOUD_SDK_PROJECT_ID');
      return {
        name,
        csms:
          endpoint('HUAWEICLOUD_SDK_CSMS_ENDPOINT') ??
          regionalUrl('kms.{region}.myhuaweicloud.com', name),
        iam: endpoint('HUAWEICLOUD_SDK_IAM_ENDPOINT') ?? new URL('https://iam.myhuaweicloud.com'),
        sts:
          endpoint('HUAWEICLOUD_SDK_STS_ENDPOINT') ??
          regionalUrl('sts.{region}.myhuaweicloud.com', name),
        ...(projectId !== undefined && {
          projectId: parseSetting(projectId, projectIdSchema, 'the id of a project'),
        }),
        ...given,
      };
    },
    identity: (variables: readonly KeyVariables[]): ClusterIdentity =>
      idToken() ?? keys(variables) ?? { kind: 'agency' },
    cloud: (identity: ClusterIdentity): CloudConfig => ({
      metadata:
        endpoint('HUAWEICLOUD_SDK_METADATA_ENDPOINT', true) ?? new URL('http://169.254.169.254'),
      identity,
      perSecond: rate('KEYFERRY_CCE_RATE', 5),
      burst: Math.max(1, rate('KEYFERRY_CCE_BURST', 200)),
    }),
  };
}
