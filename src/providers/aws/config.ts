import * as z from 'zod';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { parseEndpoint } from '../../http/endpoint.ts';
import { isRegion } from '../shared/class/parameters.ts';
import {
  type EnvReader,
  createEnvReader,
  createSettingParser,
  findSetting,
} from '../shared/env.ts';

/** What an operator configures for `aws`. */
export type AwsConfig = {
  readonly cloud: AwsCloudConfig;
  /** For classes without a region. Absent: the region of the node. */
  readonly region?: string;
  /** The name of the node in Kubernetes, to look up its region. */
  readonly nodeName?: string;
  /**
   * Whether Keyferry's own identity may serve pods that have no identity of their own. The
   * operator's grants still apply.
   */
  readonly ownIdentity: boolean;
  /**
   * The principal of a session of EKS Pod Identity. The session has the name and the uid of its pod
   * as tags, and policies can use them to tell pods apart. Without such policies the pods of a
   * ServiceAccount can share a session.
   */
  readonly podIdentityPrincipal: 'pod' | 'serviceAccount';
};

/** How to reach AWS. Without an endpoint here, AWS's own for the region is used. */
export type AwsCloudConfig = {
  readonly secretsManager?: URL;
  readonly ssm?: URL;
  readonly sts?: URL;
  readonly fips: boolean;
  readonly dualstack: boolean;
  /** The two addresses of the EKS Pod Identity agent; plain HTTP. */
  readonly podIdentityAgent: { readonly ipv4: URL; readonly ipv6: URL };
  /** Calls a second for each service, region and account. */
  readonly perSecond: { readonly secretsmanager: number; readonly ssm: number };
  /** Calls at once after a pause. */
  readonly burst: { readonly secretsmanager: number; readonly ssm: number };
};

const { parseRate, parseSetting, settingError } = createSettingParser('aws');

/**
 * Reads the variables of AWS's SDKs, and Keyferry's own. An empty variable counts as absent.
 * `docs/providers/aws.md` lists them.
 * @throws SecretError NOT_CONFIGURED naming the variable
 */
export function readAwsConfig(env: Readonly<Record<string, string | undefined>>): AwsConfig {
  const get = createEnvReader(env);
  const region = readRegion(get);
  const nodeName = get('KEYFERRY_NODE_NAME') ?? get('NODE_NAME');
  return {
    cloud: readCloud(get),
    ...(region !== undefined && { region }),
    ...(nodeName !== undefined && { nodeName }),
    ownIdentity: readSwitch('KEYFERRY_AWS_OWN_IDENTITY', get),
    podIdentityPrincipal: readPodIdentityPrincipal(get),
  };
}

function readRegion(get: EnvReader): string | undefined {
  const region = findSetting(get, 'AWS_REGION', 'AWS_DEFAULT_REGION');
  if (region === undefined || isRegion(region.text)) return region?.text;
  throw settingError(
    region.name,
    `is not a region: ${sanitizeUserText(region.text)}`,
    'regions look like eu-west-1',
  );
}

function readPodIdentityPrincipal(get: EnvReader): AwsConfig['podIdentityPrincipal'] {
  const setting = findSetting(get, 'KEYFERRY_AWS_POD_IDENTITY_PRINCIPAL');
  if (setting === undefined) return 'pod';
  return parseSetting(setting, z.enum(['pod', 'serviceAccount']), 'pod or serviceAccount');
}

function readCloud(get: EnvReader): AwsCloudConfig {
  const rate = (name: string, defaultRate: number): number =>
    parseRate({ name, text: get(name) ?? String(defaultRate) });
  const burst = (name: string, defaultBurst: number): number =>
    Math.max(1, rate(name, defaultBurst));
  const agent = (name: string, defaultUrl: string): URL =>
    parseEndpoint(get(name) ?? defaultUrl, { setting: `aws: ${name}`, allowHttp: true });
  return {
    ...readEndpoints(get),
    fips: readSwitch('AWS_USE_FIPS_ENDPOINT', get),
    dualstack: readSwitch('AWS_USE_DUALSTACK_ENDPOINT', get),
    podIdentityAgent: {
      ipv4: agent('KEYFERRY_AWS_POD_IDENTITY_AGENT_IPV4', 'http://169.254.170.23'),
      ipv6: agent('KEYFERRY_AWS_POD_IDENTITY_AGENT_IPV6', 'http://[fd00:ec2::23]'),
    },
    // AWS allows an account 10,000 and 40 calls a second. All nodes and other clients share them:
    // https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
    // https://docs.aws.amazon.com/general/latest/gr/ssm.html
    perSecond: {
      secretsmanager: rate('KEYFERRY_AWS_RATE_SECRETSMANAGER', 50),
      ssm: rate('KEYFERRY_AWS_RATE_SSM', 5),
    },
    burst: {
      secretsmanager: burst('KEYFERRY_AWS_BURST_SECRETSMANAGER', 200),
      ssm: burst('KEYFERRY_AWS_BURST_SSM', 40),
    },
  };
}

/**
 * Reads the endpoints as the SDKs do:
 * https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
 */
function readEndpoints(get: EnvReader): Pick<AwsCloudConfig, 'secretsManager' | 'ssm' | 'sts'> {
  if (readSwitch('AWS_IGNORE_CONFIGURED_ENDPOINT_URLS', get)) return {};
  const common = readEndpoint('AWS_ENDPOINT_URL', get);
  const secretsManager = readEndpoint('AWS_ENDPOINT_URL_SECRETS_MANAGER', get) ?? common;
  const ssm = readEndpoint('AWS_ENDPOINT_URL_SSM', get) ?? common;
  const sts = readEndpoint('AWS_ENDPOINT_URL_STS', get) ?? common;
  return { ...(secretsManager && { secretsManager }), ...(ssm && { ssm }), ...(sts && { sts }) };
}

function readEndpoint(name: string, get: EnvReader): URL | undefined {
  const text = get(name);
  return text === undefined ? undefined : parseAwsEndpoint(text, name);
}

/**
 * Parses an endpoint. It gets secrets and tokens. So it needs HTTPS, except on the same machine.
 * @param setting for messages
 * @throws SecretError NOT_CONFIGURED
 */
export function parseAwsEndpoint(text: string, setting: string): URL {
  const isLocal = /^http:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d+)?\/?$/.test(text);
  return parseEndpoint(text, { setting: `aws: ${setting}`, allowHttp: isLocal });
}

function readSwitch(name: string, get: EnvReader): boolean {
  const text = get(name)?.toLowerCase() ?? 'false';
  return parseSetting({ name, text }, z.enum(['true', 'false']), 'true or false') === 'true';
}
