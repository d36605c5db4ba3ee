import type { StoreConfig } from '../../core/host-store.ts';
import { Redacted } from '../../core/redacted.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { parseEndpoint } from '../../http/endpoint.ts';
import { isRegion } from '../shared/class/parameters.ts';
import { type EnvReader, createSettingParser, findSetting } from '../shared/env.ts';
import type { Identity } from '../shared/identity/identity-source.ts';
import { roleArnShape } from './class/object-ref.ts';
import type { CredentialSource } from './types.ts';

const { settingError } = createSettingParser('alibabacloud');

/** The identity of the host: see `createAlibabaHostStore`. @throws SecretError NOT_CONFIGURED */
export function readIdentity({ auth }: StoreConfig, get: EnvReader): Identity<CredentialSource> {
  const { method, params, credentials } = auth ?? {};
  if (method !== undefined && method !== 'ecs_role' && method !== 'access_key')
    throw settingError(
      'auth.method',
      `${sanitizeUserText(method)} is not known`,
      'write ecs_role or access_key',
    );
  const accessKey = params?.get('access_key');
  const secretKey = credentials?.get('secret_key');
  if (method === 'access_key' && accessKey !== undefined && secretKey !== undefined)
    return keysIdentity({ accessKeyId: accessKey, accessKeySecret: secretKey });
  const envKeys = method === 'ecs_role' ? undefined : readEnvKeys(get);
  const hasOneKey = accessKey !== undefined || secretKey !== undefined;
  if (envKeys !== undefined && !hasOneKey) return keysIdentity(envKeys);
  if (method === 'access_key')
    throw settingError(
      'auth.method',
      'is access_key, and the keys are missing',
      'give access_key and secret_key in auth.params, ' +
        'or ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET in the environment',
    );
  const roleName = params?.get('role_name');
  return {
    ...{ kind: 'shared', description: 'the RAM role of this host' },
    credential: { kind: 'worker-role', ...(roleName !== undefined && { roleName }) },
    fingerprintFields: { identity: 'worker-role', roleName },
  };
}

type Keys = Omit<Extract<CredentialSource, { kind: 'keys' }>, 'kind'>;

function keysIdentity(keys: Keys): Identity<CredentialSource> {
  return {
    ...{ kind: 'shared', description: 'the access key it is configured with' },
    credential: { kind: 'keys', ...keys },
    fingerprintFields: {
      identity: 'keys',
      accessKeyId: keys.accessKeyId,
      accessKeySecret: keys.accessKeySecret.reveal(),
      securityToken: keys.securityToken?.reveal(),
    },
  };
}

function readEnvKeys(get: EnvReader): Keys | undefined {
  const [idName, secretName] = ['ALIBABA_CLOUD_ACCESS_KEY_ID', 'ALIBABA_CLOUD_ACCESS_KEY_SECRET'];
  const id = get(idName);
  const secret = get(secretName);
  if (id === undefined && secret === undefined) return undefined;
  if (id === undefined || secret === undefined) {
    const [present, missing] = id === undefined ? [secretName, idName] : [idName, secretName];
    throw settingError(present, `is set, but ${missing} is not`, 'set both or none');
  }
  const token = get('ALIBABA_CLOUD_SECURITY_TOKEN');
  return {
    ...{ accessKeyId: id, accessKeySecret: new Redacted(secret) },
    ...(token !== undefined && { securityToken: new Redacted(token) }),
  };
}

/** @throws SecretError NOT_CONFIGURED */
export function readRole({ roleArn }: StoreConfig): string | undefined {
  if (roleArn === undefined || roleArnShape.test(roleArn)) return roleArn;
  throw settingError(
    'role_arn',
    `is not an ARN of a RAM role: ${sanitizeUserText(roleArn)}`,
    'write acs:ram::<account id>:role/<name>',
  );
}

/** The region that is configured. @throws SecretError NOT_CONFIGURED */
export function readRegion({ region: given }: StoreConfig, get: EnvReader): string | undefined {
  const setting =
    given === undefined
      ? findSetting(get, 'ALIBABA_CLOUD_REGION_ID', 'ALIBABA_CLOUD_REGION')
      : { name: 'region', text: given };
  if (setting === undefined || isRegion(setting.text)) return setting?.text;
  throw settingError(
    setting.name,
    `is not a region: ${sanitizeUserText(setting.text)}`,
    'regions look like cn-hangzhou',
  );
}

/** The host of KMS, with its port. @throws SecretError NOT_CONFIGURED */
export function readEndpoint({ endpoint }: StoreConfig): string | undefined {
  if (endpoint === undefined) return undefined;
  return parseEndpoint(endpoint, { setting: 'alibabacloud: endpoint' }).host;
}
