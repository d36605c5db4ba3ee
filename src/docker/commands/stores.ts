import { SecretError } from '../../core/errors.ts';
import type { StoreType } from '../../core/host-store.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { nearestName } from '../../formats/suggest.ts';
import type { AgentInfo, StoreInfo } from '../agent-api.ts';

/** How people know the stores. */
export const storeTitles: Readonly<Record<StoreType, string>> = {
  alibabacloud: 'Alibaba Cloud KMS',
  aws: 'AWS Secrets Manager',
  huawei: 'Huawei Cloud CSMS',
  local: 'Local Store',
  openbao: 'OpenBao',
  vault: 'HashiCorp Vault',
};

/** How people know the methods of `auth`. */
const methodTitles: Readonly<Record<string, string>> = {
  access_key: 'Access Key',
  agency: 'Agency',
  approle: 'AppRole',
  cert: 'TLS Certificate',
  default: 'Default Chain',
  ecs_role: 'ECS Role',
  environment: 'Environment',
  instance_profile: 'Instance Profile',
  jwt: 'JWT',
  task_role: 'Task Role',
  token: 'Token',
};

/** The title of a method; the method itself if it is not known. */
export function methodTitle(method: string): string {
  return Object.hasOwn(methodTitles, method) ? (methodTitles[method] ?? method) : method;
}

/**
 * The store that `--provider` names: by its name, or by its type if there is one of that type.
 * @param name absent: the default store
 * @throws SecretError INVALID_REQUEST, NOT_CONFIGURED
 */
export function findStore({ stores, defaultStore }: AgentInfo, name?: string): StoreInfo {
  const names = stores.map((store) => store.name);
  if (stores.length === 0)
    throw new SecretError('NOT_CONFIGURED', 'the host has no stores', {
      hint: 'add one: docker dso init',
    });
  const wanted = name ?? defaultStore;
  const named = stores.find((store) => store.name === wanted);
  const ofType = stores.filter(({ type }) => type === wanted);
  const [only] = name === undefined ? stores : ofType;
  const candidates = name === undefined ? stores.length : ofType.length;
  if (named !== undefined) return named;
  if (only !== undefined && candidates === 1) return only;
  const list = `the stores are ${names.map(sanitizeUserText).join(', ')}`;
  if (name === undefined)
    throw new SecretError('INVALID_REQUEST', 'the host has several stores and no default', {
      hint: `give --provider; ${list}`,
    });
  const nearest = nearestName(name, names);
  throw new SecretError(
    'INVALID_REQUEST',
    candidates > 1
      ? `the host has several stores of the type ${sanitizeUserText(name)}`
      : `the host has no store ${sanitizeUserText(name)}`,
    { hint: nearest === undefined ? list : `did you mean ${sanitizeUserText(nearest)}?` },
  );
}
