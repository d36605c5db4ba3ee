import * as z from 'zod';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import { parseEndpoint } from '../../http/endpoint.ts';
import { isRegion } from '../shared/class/parameters.ts';
import { type EnvReader, createEnvReader, createSettingParser } from '../shared/env.ts';
import type { AwsCloudConfig } from './types.ts';

export const { parseSetting: checked, settingError } = createSettingParser('aws');

/** What an operator configures for `aws`. */
export type AwsConfig = {
  readonly cloud: AwsCloudConfig;
  /** For classes that name none; absent: the node's own. */
  readonly region?: string;
  /** The node as Kubernetes calls it, to be asked for its region. */
  readonly nodeName?: string;
  /** Whether pods without an identity of their own may be served by Keyferry's, as far as it is granted. */
  readonly ownIdentity: boolean;
  /**
   * Whose a session of Pod Identity is. It carries the name and uid of its pod as tags, by which policies can tell pods apart; who has no
   * such policies can let the pods of an account share one.
   */
  readonly podIdentityPrincipal: 'pod' | 'serviceAccount';
};

const positive = z.coerce.number().positive().max(10_000);

/**
 * Reads the variables that AWS's SDKs know, and ours beside them; empty ones count as absent. `docs/providers/aws.md` lists them.
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
    podIdentityPrincipal: checked(
      'KEYFERRY_AWS_POD_IDENTITY_PRINCIPAL',
      get('KEYFERRY_AWS_POD_IDENTITY_PRINCIPAL') ?? 'pod',
      z.enum(['pod', 'serviceAccount']),
      'pod or serviceAccount',
    ),
  };
}

function readRegion(get: EnvReader): string | undefined {
  for (const name of ['AWS_REGION', 'AWS_DEFAULT_REGION']) {
    const region = get(name);
    if (region === undefined) continue;
    if (isRegion(region)) return region;
    throw settingError(
      name,
      `is no region: ${sanitizeExternalText(region)}`,
      'regions look like eu-west-1',
    );
  }
  return undefined;
}

function readCloud(get: EnvReader): AwsCloudConfig {
  const rate = (name: string, otherwise: number): number =>
    checked(name, get(name) ?? String(otherwise), positive, 'a number above 0');
  const burst = (name: string, otherwise: number): number => Math.max(1, rate(name, otherwise));
  const agent = (name: string, otherwise: string): URL =>
    parseEndpoint(get(name) ?? otherwise, { setting: `aws: ${name}`, allowHttp: true });
  return {
    ...readEndpoints(get),
    fips: readSwitch('AWS_USE_FIPS_ENDPOINT', get),
    dualstack: readSwitch('AWS_USE_DUALSTACK_ENDPOINT', get),
    podIdentityAgent: {
      ipv4: agent('KEYFERRY_AWS_POD_IDENTITY_AGENT_IPV4', 'http://169.254.170.23'),
      ipv6: agent('KEYFERRY_AWS_POD_IDENTITY_AGENT_IPV6', 'http://[fd00:ec2::23]'),
    },
    // Of an account's 10,000 and 40 calls a second, which all nodes and all else in it share:
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

/** As SDKs read them: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html */
function readEndpoints(get: EnvReader): Pick<AwsCloudConfig, 'secretsManager' | 'ssm' | 'sts'> {
  if (readSwitch('AWS_IGNORE_CONFIGURED_ENDPOINT_URLS', get)) return {};
  const forAll = readEndpoint('AWS_ENDPOINT_URL', get);
  const secretsManager = readEndpoint('AWS_ENDPOINT_URL_SECRETS_MANAGER', get) ?? forAll;
  const ssm = readEndpoint('AWS_ENDPOINT_URL_SSM', get) ?? forAll;
  const sts = readEndpoint('AWS_ENDPOINT_URL_STS', get) ?? forAll;
  return { ...(secretsManager && { secretsManager }), ...(ssm && { ssm }), ...(sts && { sts }) };
}

/** Secrets and tokens go there: over https, but for a try on one machine. */
function readEndpoint(name: string, get: EnvReader): URL | undefined {
  const text = get(name);
  if (text === undefined) return undefined;
  const isLocal = /^http:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d+)?\/?$/.test(text);
  return parseEndpoint(text, { setting: `aws: ${name}`, allowHttp: isLocal });
}

function readSwitch(name: string, get: EnvReader): boolean {
  const text = get(name)?.toLowerCase() ?? 'false';
  return checked(name, text, z.enum(['true', 'false']), 'true or false') === 'true';
}
