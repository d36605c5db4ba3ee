import { hostname } from 'node:os';
import { SecretError } from '../../core/errors.ts';
import type { HostStore, StoreConfig } from '../../core/host-store.ts';
import type { SecretRef } from '../../core/plan.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { isRegion } from '../shared/class/parameters.ts';
import type { ProviderDeps } from '../shared/deps.ts';
import { HomeRegion } from '../shared/identity/home-region.ts';
import type { Identity } from '../shared/identity/identity-source.ts';
import { callAsHost, ignoreRefusal, inRegion, readPages } from '../shared/reads/host-call.ts';
import {
  arnsHint,
  hasShortAccount,
  parameterNameProblem,
  parseArn,
  parseParameterSelector,
  secretNameProblem,
} from './class/target.ts';
import type { AwsCallContext } from './call.ts';
import { type AwsCloudConfig, parseAwsEndpoint, readAwsConfig } from './config.ts';
import { readInstanceRegion } from './credentials/instance-region.ts';
import { sessionNameOf } from './credentials/sts.ts';
import { listSecrets } from './secrets-manager.ts';
import { createAwsStore } from './store.ts';
import { hostTexts } from './texts.ts';
import type {
  AwsCredential,
  AwsCredentialSource,
  ChainMethod,
  DefaultChainSource,
} from './types.ts';

const methods: readonly ChainMethod[] = ['default', 'environment', 'task_role', 'instance_profile'];

/**
 * An IAM role. A guide prints an account of nine digits. So the number of digits is not checked:
 * STS refuses a role that cannot exist.
 */
const roleArnPattern = /^arn:aws[a-z-]*:iam::\d{1,12}:role\/[\w+=,.@/-]{1,576}$/;

/** The limit of ListSecrets. */
const pageSize = 100;

/**
 * Opens Secrets Manager and the Parameter Store for a host without Kubernetes.
 *
 * | path | secret |
 * |---|---|
 * | `my-app/db` | the current version of a secret of Secrets Manager |
 * | `ssm:/my-app/db`, `ssm:db` | a parameter. Its name is what follows `ssm:`, with its slash |
 * | `ssm:/my-app/db:3`, `ssm:/my-app/db:prod` | its version 3, or that with the label prod |
 * | `arn:aws:secretsmanager:...`, `arn:aws:ssm:...` | the same, in the region of the ARN |
 *
 * No name of Secrets Manager contains a colon, so `ssm:` hides none.
 *
 * Identity: AWS's default credential chain (environment, `~/.aws`, ECS task role, instance
 * profile), or the link of it that `auth.method` names; with `role_arn`, the role that this
 * identity assumes. Region: dso.yaml, else `AWS_REGION` or `AWS_DEFAULT_REGION`, else that of the
 * EC2 instance. `endpoint` is the address of all services, as `AWS_ENDPOINT_URL`; STS keeps an
 * address in `AWS_ENDPOINT_URL_STS`.
 *
 * The list has the secrets of Secrets Manager, and no parameters.
 * @throws SecretError NOT_CONFIGURED for a setting that cannot be used
 */
export function createAwsHostStore(
  config: StoreConfig,
  deps: ProviderDeps,
): HostStore<AwsCredential> {
  const { env } = deps;
  const { cloud, region: regionOfEnv } = readAwsConfig(env);
  const identity = readIdentity(config);
  const { api, authenticatedCall, principalOf, fetch } = createAwsStore(deps, {
    ...{ cloud: withEndpoint(cloud, config, env), texts: hostTexts },
  });
  const homeRegion = new HomeRegion(readRegion(config) ?? regionOfEnv, (signal) =>
    readInstanceRegion(deps, signal),
  );

  const callStore = async <T>(
    signal: AbortSignal,
    call: (context: AwsCallContext) => Promise<T>,
  ): Promise<T> => {
    const region = await homeRegion.get(signal);
    const ref = { service: 'secretsmanager', name: '', region };
    const principal = principalOf(identity, region);
    return callAsHost(authenticatedCall, { store: 'aws', ref, principal, signal }, call);
  };

  return {
    refFor: (path) => refOf(path, homeRegion.known),
    principal: async (signal) => principalOf(identity, await homeRegion.get(signal)),
    fetch: (requests) => fetch(inRegion(requests, homeRegion.known)),
    check: (signal) =>
      callStore(signal, (context) => ignoreRefusal(listSecrets(api, context, { limit: 1 }))),
    list: (signal) =>
      readPages((marker) =>
        callStore(signal, (context) => listSecrets(api, context, { limit: pageSize, marker })),
      ),
  };
}

const parameterPrefix = 'ssm:';

function refOf(path: string, region: string | undefined): SecretRef {
  const place = region === undefined ? {} : { region };
  if (path.startsWith('arn:')) {
    const arn = parseArn(path);
    if (arn === undefined)
      throw pathError(path, 'is not an ARN of a secret or a parameter', {
        hint: hasShortAccount(path)
          ? 'the account of an ARN has 12 digits, zeros at the beginning too'
          : arnsHint,
      });
    const stage = arn.service === 'secretsmanager' ? { stage: 'AWSCURRENT' } : {};
    return { ...arn, name: path, ...stage };
  }
  if (path.startsWith(parameterPrefix)) {
    const text = path.slice(parameterPrefix.length);
    const [, name = '', selector] = /^([^:]*)(?::(.*))?$/.exec(text) ?? [];
    const problem = parameterNameProblem(name);
    if (problem !== undefined)
      throw pathError(path, 'is not the name of a parameter', {
        hint: 'write ssm: and the name, which has letters, digits and "_./-": ssm:/my-app/db',
      });
    const selection = selector === undefined ? {} : parseParameterSelector(selector);
    if (selection === undefined)
      throw pathError(path, 'selects neither a version nor a label of the parameter', {
        hint: 'a version is a number from 1, a label has letters, digits and "_.-"',
      });
    return { service: 'ssm', name, ...place, ...selection };
  }
  const problem = secretNameProblem(path);
  if (problem !== undefined) throw pathError(path, problem.message);
  return { service: 'secretsmanager', name: path, ...place, stage: 'AWSCURRENT' };
}

function pathError(
  path: string,
  problem: string,
  details: { readonly hint?: string } = {},
): SecretError {
  return new SecretError('INVALID_CLASS', `aws: ${sanitizeUserText(path)} ${problem}`, details);
}

function readIdentity({ auth, roleArn }: StoreConfig): Identity<AwsCredentialSource> {
  const { method: name = 'default' } = auth ?? {};
  const method = methods.find((each) => each === name);
  if (method === undefined)
    throw settingError(`auth.method ${sanitizeUserText(name)} is not known`, {
      hint: `write one of ${methods.join(', ')}`,
    });
  const base: DefaultChainSource = { kind: 'default-chain', method };
  if (roleArn === undefined)
    return {
      ...{ kind: 'shared', description: hostTexts.owner, credential: base },
      fingerprintFields: { identity: 'default-chain', method },
    };
  if (!roleArnPattern.test(roleArn))
    throw settingError(`role_arn is not an ARN of an IAM role: ${sanitizeUserText(roleArn)}`, {
      hint: 'write arn:aws:iam::<account>:role/<name>',
    });
  const sessionName = sessionNameOf('keyferry', hostname());
  return {
    ...{ kind: 'shared', description: `the role ${roleArn}` },
    credential: { kind: 'assumed-role', roleArn, sessionName, base },
    fingerprintFields: { identity: 'assumed-role', method, roleArn },
  };
}

function readRegion({ region }: StoreConfig): string | undefined {
  if (region === undefined || isRegion(region)) return region;
  throw settingError(`region is not a region: ${sanitizeUserText(region)}`, {
    hint: 'regions look like eu-west-1',
  });
}

function withEndpoint(
  cloud: AwsCloudConfig,
  { endpoint: text }: StoreConfig,
  env: ProviderDeps['env'],
): AwsCloudConfig {
  if (text === undefined) return cloud;
  const url = parseAwsEndpoint(text, 'endpoint');
  const hasOwnSts = (env.AWS_ENDPOINT_URL_STS ?? '') !== '' && cloud.sts !== undefined;
  return { ...cloud, secretsManager: url, ssm: url, ...(!hasOwnSts && { sts: url }) };
}

function settingError(problem: string, details: { readonly hint?: string }): SecretError {
  return new SecretError('NOT_CONFIGURED', `aws: ${problem}`, details);
}
