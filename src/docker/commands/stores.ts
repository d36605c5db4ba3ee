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

/** The words of {@link findStore}. */
export type StoreWords = {
  /** What it looks for: a store, or a Vault. */
  readonly noun: string;
  /** The flag that names one. */
  readonly flag: string;
  /** The command that adds one. */
  readonly init: string;
};
const anyStore: StoreWords = { noun: 'store', flag: '--provider', init: 'docker dso init' };

/**
 * The store that a flag names: by its name, or by its type if there is one of that type.
 * @param name absent: the default store, or the only one
 * @throws SecretError INVALID_REQUEST, NOT_CONFIGURED
 */
export function findStore(
  { stores, defaultStore }: AgentInfo,
  name?: string,
  { noun, flag, init }: StoreWords = anyStore,
): StoreInfo {
  const named = stores.find((store) => store.name === (name ?? defaultStore));
  if (named !== undefined) return named;
  const candidates = name === undefined ? stores : stores.filter(({ type }) => type === name);
  const [only, ...others] = candidates;
  if (only !== undefined && others.length === 0) return only;
  if (stores.length === 0)
    throw new SecretError('NOT_CONFIGURED', `the host has no ${noun}`, {
      hint: `add one: ${init}`,
    });
  const names = stores.map((store) => store.name);
  const list = `it has ${names.map(sanitizeUserText).join(', ')}`;
  if (only !== undefined)
    throw new SecretError(
      'INVALID_REQUEST',
      name === undefined
        ? `the host has several ${noun}s, and none of them is the default`
        : `the host has several stores of the type ${sanitizeUserText(name)}`,
      { hint: `give ${flag} with a name; ${list}` },
    );
  const nearest = nearestName(name ?? '', names);
  throw new SecretError(
    'INVALID_REQUEST',
    `the host has no ${noun} ${sanitizeUserText(name ?? '')}`,
    { hint: nearest === undefined ? list : `did you mean ${sanitizeUserText(nearest)}?` },
  );
}
