import type { StoreConfig } from '../../core/host-store.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { parseEndpoint } from '../../http/endpoint.ts';
import { isRegion } from '../shared/class/parameters.ts';
import { createSettingParser } from '../shared/env.ts';
import {
  type ClusterIdentity,
  type KeyVariables,
  type createConfigReader,
  keyVariables,
  projectIdSchema,
} from './config.ts';

const { settingError } = createSettingParser('huawei');

type ConfigReader = ReturnType<typeof createConfigReader>;

/** The variables of keys on a host. The last pair is that of an older tool of the same purpose. */
const hostKeyVariables: readonly KeyVariables[] = [
  ...keyVariables,
  { accessKey: 'HUAWEI_ACCESS_KEY', secretKey: 'HUAWEI_SECRET_KEY' },
];

/** The identity of the host: see `createHuaweiHostStore`. @throws SecretError NOT_CONFIGURED */
export function readIdentity({ auth }: StoreConfig, reader: ConfigReader): ClusterIdentity {
  if (auth === undefined) return reader.identity(hostKeyVariables);
  const { method, params, credentials } = auth;
  if (method === 'agency') return { kind: 'agency' };
  if (method !== 'access_key')
    throw settingError(
      'auth.method',
      `${sanitizeUserText(method)} is not known`,
      'write agency or access_key',
    );
  const accessKey = params.get('access_key');
  const secretKey = credentials.get('secret_key');
  if (accessKey !== undefined && secretKey !== undefined)
    return { kind: 'keys', accessKey, secretKey };
  const keys = reader.keys(hostKeyVariables);
  if (keys !== undefined && accessKey === undefined && secretKey === undefined) return keys;
  throw settingError(
    'auth.method',
    'is access_key, and the keys are missing',
    'give access_key and secret_key in auth.params, ' +
      'or HUAWEI_ACCESS_KEY_ID and HUAWEI_SECRET_ACCESS_KEY in the environment',
  );
}

/** Where CSMS is, as far as dso.yaml says. @throws SecretError NOT_CONFIGURED */
export function readGivenPlace({ region, projectId, endpoint }: StoreConfig) {
  if (region !== undefined && !isRegion(region))
    throw settingError(
      'region',
      `is not a region: ${sanitizeUserText(region)}`,
      'regions look like cn-north-4 or eu-west-101',
    );
  if (projectId !== undefined && !projectIdSchema.safeParse(projectId).success)
    throw settingError('project_id', `is not the id of a project: ${sanitizeUserText(projectId)}`);
  return {
    ...(projectId !== undefined && { projectId }),
    ...(endpoint !== undefined && {
      csms: parseEndpoint(endpoint, { setting: 'huawei: endpoint' }),
    }),
  };
}
