import { hostname } from 'node:os';
import type { StoreConfig } from '../../core/host-store.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { isRegion } from '../shared/class/parameters.ts';
import type { ProviderDeps } from '../shared/deps.ts';
import { createSettingParser } from '../shared/env.ts';
import type { Identity } from '../shared/identity/identity-source.ts';
import { roleArnPattern } from './arn.ts';
import { type AwsCloudConfig, parseAwsEndpoint } from './config.ts';
import { sessionNameOf } from './credentials/sts.ts';
import { hostTexts } from './texts.ts';
import type { AwsCredentialSource, ChainMethod, DefaultChainSource } from './types.ts';

const { settingError } = createSettingParser('aws');

const methods: readonly ChainMethod[] = ['default', 'environment', 'task_role', 'instance_profile'];

/** The identity of the host: see `createAwsHostStore`. @throws SecretError NOT_CONFIGURED */
export function readIdentity({ auth, roleArn }: StoreConfig): Identity<AwsCredentialSource> {
  const { method: name = 'default' } = auth ?? {};
  const method = methods.find((each) => each === name);
  if (method === undefined)
    throw settingError(
      'auth.method',
      `${sanitizeUserText(name)} is not known`,
      `write one of ${methods.join(', ')}`,
    );
  const base: DefaultChainSource = { kind: 'default-chain', method };
  if (roleArn === undefined)
    return {
      ...{ kind: 'shared', description: hostTexts.owner, credential: base },
      fingerprintFields: { identity: 'default-chain', method },
    };
  // A guide prints an account of nine digits. STS refuses a role that cannot exist.
  if (!roleArnPattern.test(roleArn))
    throw settingError(
      'role_arn',
      `is not an ARN of an IAM role: ${sanitizeUserText(roleArn)}`,
      'write arn:aws:iam::<account>:role/<name>',
    );
  const sessionName = sessionNameOf('keyferry', hostname());
  return {
    ...{ kind: 'shared', description: `the role ${roleArn}` },
    credential: { kind: 'assumed-role', roleArn, sessionName, base },
    fingerprintFields: { identity: 'assumed-role', method, roleArn },
  };
}

/** The region of dso.yaml. @throws SecretError NOT_CONFIGURED */
export function readRegion({ region }: StoreConfig): string | undefined {
  if (region === undefined || isRegion(region)) return region;
  throw settingError(
    'region',
    `is not a region: ${sanitizeUserText(region)}`,
    'regions look like eu-west-1',
  );
}

/** The addresses of AWS, with the endpoint of dso.yaml. @throws SecretError NOT_CONFIGURED */
export function withEndpoint(
  cloud: AwsCloudConfig,
  { endpoint: text }: StoreConfig,
  env: ProviderDeps['env'],
): AwsCloudConfig {
  if (text === undefined) return cloud;
  const url = parseAwsEndpoint(text, 'endpoint');
  const hasOwnSts = (env.AWS_ENDPOINT_URL_STS ?? '') !== '' && cloud.sts !== undefined;
  return { ...cloud, secretsManager: url, ssm: url, ...(!hasOwnSts && { sts: url }) };
}
