import * as z from 'zod';
import { Redacted } from '../../core/redacted.ts';
import { SecretError } from '../../core/errors.ts';
import { quoteForeign } from '../../core/safe-text.ts';
import { parseEndpoint, regionEndpoint } from '../../http/endpoint.ts';

/** Whose rights serve classes that bring no identity of their own: the first that is configured. */
export type ClusterIdentity =
  | { readonly kind: 'id-token'; readonly idpId: string; readonly tokenFile: string }
  | {
      readonly kind: 'keys';
      readonly accessKey: string;
      readonly secretKey: Redacted;
      readonly securityToken?: Redacted;
    }
  | { readonly kind: 'agency' };

/** What an operator configures for `cce`. */
export type CceConfig = {
  /** Absent: nothing can be mounted, and the first mount says so. */
  readonly region?: RegionConfig;
  readonly metadata: URL;
  readonly identity: ClusterIdentity;
  readonly perSecond: number;
  readonly burst: number;
};

/** What follows from the region, or stands in its place. */
export type RegionConfig = {
  readonly name: string;
  readonly csms: URL;
  readonly iam: URL;
  readonly sts: URL;
  readonly projectId?: string;
};

type Environment = Readonly<Record<string, string | undefined>>;

const positive = z.coerce.number().positive().max(10_000);
const projectShape = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);

/**
 * Reads the variables of Huawei Cloud's SDKs, and ours beside them; empty ones count as absent. `docs/providers/cce.md` lists them.
 * @throws SecretError NOT_CONFIGURED naming the variable
 */
export function readCceConfig(env: Environment): CceConfig {
  const get: Get = (name) => {
    const text = env[name]?.trim();
    return text === '' ? undefined : text;
  };
  const rate = (name: string, otherwise: number): number =>
    checked(name, get(name) ?? String(otherwise), positive, 'a number above 0');
  const region = readRegion(get);
  return {
    ...(region && { region }),
    metadata: endpoint('HUAWEICLOUD_SDK_METADATA_ENDPOINT', get, true) ?? new URL('http://169.254.169.254'),
    identity: readIdentity(get),
    perSecond: rate('KEYFERRY_CCE_RATE', 5),
    burst: Math.max(1, rate('KEYFERRY_CCE_BURST', 200)),
  };
}

type Get = (name: string) => string | undefined;

function readRegion(get: Get): RegionConfig | undefined {
  const name = get('HUAWEICLOUD_SDK_REGION');
  if (name === undefined) return undefined;
  const projectId = get('HUAWEICLOUD_SDK_PROJECT_ID');
  return {
    name,
    csms: endpoint('HUAWEICLOUD_SDK_CSMS_ENDPOINT', get) ?? regional('kms.{region}.myhuaweicloud.com', name),
    iam: endpoint('HUAWEICLOUD_SDK_IAM_ENDPOINT', get) ?? new URL('https://iam.myhuaweicloud.com'),
    sts: endpoint('HUAWEICLOUD_SDK_STS_ENDPOINT', get) ?? regional('sts.{region}.myhuaweicloud.com', name),
    ...(projectId !== undefined && {
      projectId: checked('HUAWEICLOUD_SDK_PROJECT_ID', projectId, projectShape, 'the id of a project'),
    }),
  };
}

function endpoint(name: string, get: Get, allowHttp = false): URL | undefined {
  const text = get(name);
  return text === undefined ? undefined : parseEndpoint(text, { setting: `cce: ${name}`, allowHttp });
}

function regional(template: string, region: string): URL {
  try {
    return regionEndpoint(template, region);
  } catch {
    throw new SecretError(
      'NOT_CONFIGURED',
      `cce: HUAWEICLOUD_SDK_REGION is no region: ${quoteForeign(region)}`,
      {
        hint: 'regions look like cn-north-4 or eu-west-101',
      },
    );
  }
}

function readIdentity(get: Get): ClusterIdentity {
  const idpId = get('HUAWEICLOUD_SDK_IDP_ID');
  const tokenFile = get('HUAWEICLOUD_SDK_ID_TOKEN_FILE');
  if (idpId !== undefined || tokenFile !== undefined)
    return {
      kind: 'id-token',
      idpId: together('HUAWEICLOUD_SDK_IDP_ID', idpId, 'HUAWEICLOUD_SDK_ID_TOKEN_FILE'),
      tokenFile: together('HUAWEICLOUD_SDK_ID_TOKEN_FILE', tokenFile, 'HUAWEICLOUD_SDK_IDP_ID'),
    };
  for (const [ak, sk, token] of [
    ['HUAWEICLOUD_SDK_AK', 'HUAWEICLOUD_SDK_SK', 'HUAWEICLOUD_SDK_SECURITY_TOKEN'],
    ['HUAWEI_ACCESS_KEY_ID', 'HUAWEI_SECRET_ACCESS_KEY', ''],
  ] as const) {
    const accessKey = get(ak);
    const secretKey = get(sk);
    if (accessKey === undefined && secretKey === undefined) continue;
    const securityToken = get(token);
    return {
      kind: 'keys',
      accessKey: together(ak, accessKey, sk),
      secretKey: new Redacted(together(sk, secretKey, ak)),
      ...(securityToken !== undefined && { securityToken: new Redacted(securityToken) }),
    };
  }
  return { kind: 'agency' };
}

function together(name: string, value: string | undefined, other: string): string {
  if (value !== undefined) return value;
  throw new SecretError('NOT_CONFIGURED', `cce: ${other} is set, but ${name} is not`, {
    hint: 'set both or none',
  });
}

function checked<T>(name: string, text: string, schema: z.ZodType<T>, wanted: string): T {
  const result = schema.safeParse(text);
  if (result.success) return result.data;
  throw new SecretError('NOT_CONFIGURED', `cce: ${name} must be ${wanted}`);
}
