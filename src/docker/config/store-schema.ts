import * as z from 'zod';
import {
  type StoreAuth,
  type StoreConfig,
  type StoreType,
  storeTypes,
} from '../../core/host-store.ts';
import { Redacted } from '../../core/redacted.ts';
import { text, userMap } from './scalars.ts';

/** https://docs.aws.amazon.com/general/latest/gr/rande.html and the like of the other vendors. */
const region = text.regex(/^[a-z]{2,}(-[a-z0-9]+){1,4}$/, 'is not the name of a region');
const httpUrl = z
  .url({ protocol: /^https?$/, error: 'must be a URL such as https://host:8200' })
  .refine((url) => !hasUserInfo(url), 'must have no user and no password in it');

/** Whether a URL has a user or a password, which no message may show. */
export function hasUserInfo(url: string): boolean {
  return /^\s*[a-z][a-z0-9+.-]*:\/\/[^/?#]*@/i.test(url);
}

/** Where a store is. Each type has some of these. */
const settings = {
  region: region.optional(),
  project_id: text.optional(),
  endpoint: text.optional(),
  role_arn: text.optional(),
  address: httpUrl.optional(),
  addresses: z.array(httpUrl, 'must be a list').min(1, 'must not be empty').optional(),
  namespace: text.optional(),
  ca_file: text.optional(),
  tls_server_name: text.optional(),
  store_file: text.optional(),
  key_file: text.optional(),
};

/** A key of a store that says where it is. */
export type Setting = keyof typeof settings;

/** What is wrong with the text of a setting, as words that follow its name. */
export function checkSetting(setting: Setting, value: string): string | undefined {
  const schema = setting === 'addresses' ? httpUrl : settings[setting];
  return schema.safeParse(value).error?.issues[0]?.message;
}

const vaultSettings: readonly Setting[] = [
  ...(['address', 'addresses', 'namespace', 'ca_file', 'tls_server_name'] as const),
];
/** The settings of each type. */
export const settingsOf: Readonly<Record<StoreType, readonly Setting[]>> = {
  huawei: ['region', 'project_id', 'endpoint'],
  aws: ['region', 'endpoint', 'role_arn'],
  vault: vaultSettings,
  openbao: vaultSettings,
  alibabacloud: ['region', 'endpoint', 'role_arn'],
  local: ['store_file', 'key_file'],
};

type Methods = Readonly<Record<string, readonly string[]>>;

const vaultMethods: Methods = {
  token: ['token', 'token_file'],
  approle: ['role_id', 'secret_id', 'secret_id_file', 'mount'],
  jwt: ['role', 'token_file', 'mount'],
  cert: ['name', 'cert_file', 'key_file', 'mount'],
};
/** The parameters of each method of each type. */
export const methodsOf: Readonly<Record<StoreType, Methods>> = {
  huawei: { agency: [], access_key: ['access_key', 'secret_key', 'secret_key_file'] },
  aws: { default: [], environment: [], instance_profile: [], task_role: [] },
  vault: vaultMethods,
  openbao: vaultMethods,
  alibabacloud: {
    ecs_role: ['role_name'],
    access_key: ['access_key', 'secret_key', 'secret_key_file'],
  },
  local: {},
};
/**
 * Parameters that must not be printed. Each has a companion `..._file` in every method: the path of
 * a file with it.
 */
export const credentialParams = ['token', 'secret_id', 'secret_key'];

const auth = z.strictObject({ method: text, params: userMap(z.string(), text).optional() });
const rawStore = {
  ...settings,
  fallback: text.optional(),
  config: z.strictObject(settings).optional(),
  auth: auth.optional(),
};

const storeObject = z.strictObject({
  type: z.enum(storeTypes, `must be one of ${storeTypes.join(', ')}`),
  ...rawStore,
});

/** One entry of `providers`. */
export const storeSchema = storeObject.transform((store, context) =>
  toStore(store, (path, message) => context.addIssue({ code: 'custom', path: [...path], message })),
);

/** `config` and `auth` of the flat form. */
export const flatStoreShape = { config: rawStore.config, auth: rawStore.auth };

type RawStore = z.output<typeof storeObject>;

type ReportKey = (path: readonly string[], message: string) => void;

/**
 * Makes a store of its keys.
 * @param report receives keys that do not fit the type, and words that follow them
 */
export function toStore(
  { type, config = {}, auth: login, fallback, ...own }: RawStore,
  report: ReportKey,
): StoreConfig {
  const allowed = settingsOf[type];
  for (const [prefix, group] of [
    [[], own],
    [['config'], config],
  ] as const)
    for (const key of Object.keys(group) as Setting[])
      if (!allowed.includes(key))
        report([...prefix, key], `has no meaning for ${type}; ${type} has ${allowed.join(', ')}`);
      else if (prefix.length > 0 && own[key] !== undefined)
        report([...prefix, key], 'is set twice; remove one of them');
  const all = { ...own, ...config };
  if (all.address !== undefined && all.addresses !== undefined)
    report(['address'], 'and addresses are both set; write addresses alone');
  const addresses = all.addresses ?? (all.address === undefined ? undefined : [all.address]);
  return {
    type,
    region: all.region,
    projectId: all.project_id,
    endpoint: all.endpoint,
    roleArn: all.role_arn,
    addresses,
    namespace: all.namespace,
    caFile: all.ca_file,
    tlsServerName: all.tls_server_name,
    storeFile: all.store_file,
    keyFile: all.key_file,
    auth: login && toAuth(type, login, report),
    ...(fallback !== undefined && { fallback }),
  };
}

function toAuth(
  type: StoreType,
  { method, params = {} }: z.output<typeof auth>,
  report: ReportKey,
): StoreAuth {
  const methods = new Map(Object.entries(methodsOf[type]));
  const known = methods.get(method);
  if (known === undefined) {
    const names = [...methods.keys()].join(', ');
    const remedy = names === '' ? `${type} needs no auth; remove it` : `must be one of ${names}`;
    report(['auth', 'method'], remedy);
  }
  for (const name of Object.keys(params))
    if (known !== undefined && !known.includes(name)) {
      const names = known.length === 0 ? 'it has none' : `it has ${known.join(', ')}`;
      report(['auth', 'params', name], `is not a parameter of ${method}; ${names}`);
    }
  const entries = Object.entries(params);
  return {
    method,
    params: new Map(entries.filter(([name]) => !credentialParams.includes(name))),
    credentials: new Map(
      entries
        .filter(([name]) => credentialParams.includes(name))
        .map(([name, value]) => [name, new Redacted(value)]),
    ),
  };
}
