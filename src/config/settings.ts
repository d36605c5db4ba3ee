import { Option } from 'commander';
import { SecretError } from '../core/errors.ts';
import type { SharedIdentityMode } from '../core/provider.ts';
import { type LogFormat, type LogLevel, logFormats, logLevels } from '../telemetry/log.ts';

const durations: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const sizes: Readonly<Record<string, number>> = {
  '': 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};

/**
 * Milliseconds of `500ms`, `30s`, `2m`, `1h` or `0`.
 * @throws SecretError NOT_CONFIGURED naming `setting`
 */
export function parseDuration(text: string, setting: string): number {
  if (text === '0') return 0;
  return (
    quantity(text, durations) ??
    throwInvalid(setting, text, 'a whole number with ms, s, m or h, such as 30s')
  );
}

/**
 * Bytes of `1048576`, `512KiB`, `32MiB` or `1GiB`.
 * @throws SecretError NOT_CONFIGURED naming `setting`, also below `minimum`
 */
export function parseBytes(text: string, setting: string, minimum = 0): number {
  const bytes =
    quantity(text, sizes) ??
    throwInvalid(setting, text, 'a whole number of bytes, or with KiB, MiB or GiB');
  return bytes >= minimum ? bytes : throwInvalid(setting, text, `at least ${minimum} bytes`);
}

/**
 * A whole number from `minimum` to 999,999,999.
 * @throws SecretError NOT_CONFIGURED naming `setting`
 */
export function parseCount(text: string, setting: string, minimum: number): number {
  const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : NaN;
  return count >= minimum
    ? count
    : throwInvalid(setting, text, `a whole number from ${minimum} to 999999999`);
}

/** One of a few words. @throws SecretError NOT_CONFIGURED naming `setting` */
export function parseChoice<T extends string>(
  text: string,
  setting: string,
  choices: readonly T[],
): T {
  return (
    choices.find((choice) => choice === text) ??
    throwInvalid(setting, text, `one of ${choices.join(', ')}`)
  );
}

function quantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^([0-9]{1,12})([A-Za-z]*)$/.exec(text);
  const unit =
    match?.[2] === undefined || !Object.hasOwn(units, match[2]) ? undefined : units[match[2]];
  return unit === undefined ? undefined : Number(match?.[1]) * unit;
}

function throwInvalid(setting: string, text: string, expected: string): never {
  throw new SecretError('NOT_CONFIGURED', `${setting} is ${JSON.stringify(text.slice(0, 100))}`, {
    hint: `give ${expected}`,
  });
}

/** With less, not even a volume of one key fits. */
const minResponseBytes = 1024;

/** The settings of a process. Each has a flag and an environment variable. */
export type Settings = {
  readonly providers: readonly string[];
  readonly providersDir: string;
  /** A file with the key of versions that all nodes share. Default: a key of each node. */
  readonly versionKeyFile?: string;
  /** `host:port` or `unix:/path` of health, readiness and metrics; several separated by commas. */
  readonly healthAddress: string;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  /** Milliseconds that mounts in flight may take after SIGTERM. */
  readonly grace: number;
  readonly maxResponseBytes: number;
  readonly maxMounts: number;
  readonly cacheBytes: number;
  /** Milliseconds. Default: the provider's own. */
  readonly refreshInterval?: number;
  /** Milliseconds; 0: never. */
  readonly maxStale: number;
  /** How long a mount without a cached value waits for a store that is away, in milliseconds. */
  readonly firstMountPatience: number;
  readonly sharedIdentities: SharedIdentityMode;
  readonly sharedIdentityGrants?: string;
  /** Whether a pod gets an Event when its files can no longer be refreshed. */
  readonly events: 'on' | 'off';
  /** Whether the pods of this node are watched, so that the leases of deleted pods are revoked. */
  readonly podWatch: 'on' | 'off';
  /** A PEM file of CA certificates to trust in addition to the system's. */
  readonly caFile?: string;
  /**
   * The API server, a file with a bearer token for it, and a file with its CA. Default: those that
   * Kubernetes gives every pod.
   */
  readonly kubeServer?: URL;
  readonly kubeTokenFile?: string;
  readonly kubeCaFile?: string;
  readonly localStore: string;
  readonly localKey: string;
};

/** A flag with its variable. */
export const flag = (flags: string, description: string, env: string): Option =>
  new Option(flags, description).env(env);

const sharedIdentityModes = ['granted', 'all', 'none'] as const;
const switches = ['on', 'off'] as const;

/** Shows the words in the help and in a shell's completion. The parsers check them. */
export function withChoices(option: Option, choices: readonly string[]): Option {
  option.argChoices = [...choices];
  return option;
}

/** `--log-level` and `--log-format`. @param prefix of their variables: `KEYFERRY` */
export function logFlags(prefix: string): readonly Option[] {
  const level = flag(
    '--log-level <level>',
    'the least important level to log',
    `${prefix}_LOG_LEVEL`,
  );
  const format = flag(
    '--log-format <format>',
    'json: an object a line; text: for people',
    `${prefix}_LOG_FORMAT`,
  );
  return [
    withChoices(level.default('info'), logLevels),
    withChoices(format.default('json'), logFormats),
  ];
}

/** The flags, in the order of the help. */
export const settingFlags: readonly Option[] = [
  flag('--providers <names>', 'providers to serve, separated by commas', 'KEYFERRY_PROVIDERS'),
  flag('--providers-dir <dir>', "the driver's socket directory", 'KEYFERRY_PROVIDERS_DIR').default(
    '/var/run/secrets-store-csi-providers',
  ),
  flag(
    '--version-key-file <file>',
    'file with the key of computed versions, the same on all nodes (default: a key of each node)',
    'KEYFERRY_VERSION_KEY_FILE',
  ),
  flag(
    '--health-address <address>',
    'where /healthz, /readyz and /metrics listen: host:port or unix:/path; of several, all but the first may be in use',
    'KEYFERRY_HEALTH_ADDRESS',
  ).default('0.0.0.0:8095'),
  ...logFlags('KEYFERRY'),
  flag(
    '--grace <duration>',
    'how long mounts in flight may take after SIGTERM',
    'KEYFERRY_GRACE',
  ).default('20s'),
  flag(
    '--max-response-bytes <size>',
    "the driver's receive limit",
    'KEYFERRY_MAX_RESPONSE_BYTES',
  ).default('4MiB'),
  flag(
    '--max-mounts <count>',
    'mounts in progress at once; others wait',
    'KEYFERRY_MAX_MOUNTS',
  ).default('512'),
  flag('--cache-bytes <size>', 'memory for cached secrets', 'KEYFERRY_CACHE_BYTES').default(
    '32MiB',
  ),
  flag(
    '--refresh-interval <duration>',
    'how long a moving version is served before it is read again (default: 30s; cce 2m)',
    'KEYFERRY_REFRESH_INTERVAL',
  ),
  flag(
    '--max-stale <duration>',
    'how long the last good value is served while a store does not respond; 0 = never',
    'KEYFERRY_MAX_STALE',
  ).default('10m'),
  flag(
    '--first-mount-patience <duration>',
    'how long a mount without a cached value tries again while a store is away; at most 25s; 0 = three quick attempts',
    'KEYFERRY_FIRST_MOUNT_PATIENCE',
  ).default('20s'),
  withChoices(
    flag(
      '--shared-identities <mode>',
      'which workloads may use shared identities',
      'KEYFERRY_SHARED_IDENTITIES',
    ).default('granted'),
    sharedIdentityModes,
  ),
  flag(
    '--shared-identity-grants <file>',
    'the grants for --shared-identities granted',
    'KEYFERRY_SHARED_IDENTITY_GRANTS',
  ),
  withChoices(
    flag(
      '--events <mode>',
      'on: create an Event on the pod when its files can no longer be refreshed',
      'KEYFERRY_EVENTS',
    ).default('off'),
    switches,
  ),
  withChoices(
    flag(
      '--pod-watch <mode>',
      'on: watch the pods of this node (KEYFERRY_NODE_NAME) and revoke the leases of deleted pods',
      'KEYFERRY_POD_WATCH',
    ).default('off'),
    switches,
  ),
  flag(
    '--ca-file <file>',
    "PEM file of CA certificates to trust in addition to the system's",
    'KEYFERRY_CA_FILE',
  ),
  flag('--kube-server <url>', 'URL of the API server, outside a pod', 'KEYFERRY_KUBE_SERVER'),
  flag('--kube-token-file <file>', 'file with a bearer token for it', 'KEYFERRY_KUBE_TOKEN_FILE'),
  flag('--kube-ca-file <file>', 'PEM file of its CA', 'KEYFERRY_KUBE_CA_FILE'),
  flag(
    '--local-store <file>',
    'the embedded store of provider local',
    'KEYFERRY_LOCAL_STORE',
  ).default('/var/lib/keyferry/store.age'),
  flag('--local-key <file>', 'the key of the embedded store', 'KEYFERRY_LOCAL_KEY').default(
    '/var/lib/keyferry/store.key',
  ),
];

/** Flags as commander parses them. */
export type RawSettings = Readonly<Record<string, string | undefined>>;

/** Checks the flags. @throws SecretError NOT_CONFIGURED naming the flag and its valid values */
export function parseSettings(raw: RawSettings): Settings {
  const text = (name: string): string => raw[name] ?? '';
  const optional = (name: keyof Settings): Record<string, string> => {
    const value = raw[name];
    return value === undefined || value === '' ? {} : { [name]: value };
  };
  return {
    providers: parseProviders(text('providers')),
    providersDir: text('providersDir'),
    ...optional('versionKeyFile'),
    healthAddress: parseAddresses(text('healthAddress')),
    logLevel: parseChoice(text('logLevel'), '--log-level', logLevels),
    logFormat: parseChoice(text('logFormat'), '--log-format', logFormats),
    grace: parseDuration(text('grace'), '--grace'),
    maxResponseBytes: parseBytes(
      text('maxResponseBytes'),
      '--max-response-bytes',
      minResponseBytes,
    ),
    maxMounts: parseCount(text('maxMounts'), '--max-mounts', 1),
    cacheBytes: parseBytes(text('cacheBytes'), '--cache-bytes'),
    ...(raw.refreshInterval && {
      refreshInterval: parseDuration(raw.refreshInterval, '--refresh-interval'),
    }),
    maxStale: parseDuration(text('maxStale'), '--max-stale'),
    firstMountPatience: parsePatience(text('firstMountPatience')),
    sharedIdentities: parseChoice(
      text('sharedIdentities'),
      '--shared-identities',
      sharedIdentityModes,
    ),
    ...optional('sharedIdentityGrants'),
    events: parseChoice(text('events'), '--events', switches),
    podWatch: parseChoice(text('podWatch'), '--pod-watch', switches),
    ...optional('caFile'),
    ...(raw.kubeServer && { kubeServer: parseUrl(raw.kubeServer, '--kube-server') }),
    ...optional('kubeTokenFile'),
    ...optional('kubeCaFile'),
    localStore: text('localStore'),
    localKey: text('localKey'),
  };
}

/** The whole read ends after 30 s, and with it the cause of its failure would be lost. */
const maxPatienceMs = 25_000;

/** At most 25 s. @throws SecretError NOT_CONFIGURED */
export function parsePatience(text: string): number {
  const setting = '--first-mount-patience';
  const patience = parseDuration(text, setting);
  return patience <= maxPatienceMs
    ? patience
    : throwInvalid(setting, text, 'at most 25s: a read ends after 30s');
}

function parseUrl(text: string, setting: string): URL {
  if (URL.canParse(text) && /^https?:/.test(text)) return new URL(text);
  throw new SecretError('NOT_CONFIGURED', `${setting} is ${JSON.stringify(text.slice(0, 100))}`, {
    hint: 'give a URL, such as https://10.0.0.1:6443',
  });
}

function parseProviders(text: string): readonly string[] {
  const names = text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  return [...new Set(names)];
}

/** See `healthAddress`. @throws SecretError NOT_CONFIGURED */
export function parseAddresses(text: string): string {
  const shape = /^((\[[0-9a-fA-F:.]+\]|[^:,\s]*):[0-9]{1,5}|unix:\/[^,\s]+)$/;
  if (text.split(',').every((address) => shape.test(address))) return text;
  throw new SecretError(
    'NOT_CONFIGURED',
    `--health-address is ${JSON.stringify(text.slice(0, 100))}`,
    {
      hint: 'give host:port, such as 0.0.0.0:8095, :8095 for every address, or unix:/path',
    },
  );
}
