import { LRUCache } from 'lru-cache';
import { SecretError, toSecretError } from '../core/errors.ts';
import { Redacted } from '../core/redacted.ts';
import type { SuppliedToken, Parameters, Workload } from '../core/workload.ts';
import type { Mount, MountContext } from '../mount/mount.ts';
import type { MountRequest, Volume } from '../mount/types.ts';

/**
 * The driver's MountRequest as received, without `current_object_version`, which drivers from 1.6
 * on leave empty. `attributes` and `secrets` hold tokens and keys: never log them.
 */
export type RawMountRequest = {
  /** JSON object of strings. */
  readonly attributes: string;
  /** JSON object of strings, `null`, or empty. */
  readonly secrets: string;
  /** Identifies the volume. It is never opened. */
  readonly targetPath: string;
  /** JSON number: the mode of the files, in decimal. */
  readonly permission: string;
};

const kubernetes = 'csi.storage.k8s.io/';
const tokensKey = `${kubernetes}serviceAccount.tokens`;
const classKey = 'secretProviderClass';
const maxAttributesBytes = 1024 * 1024;
/** The limit of Linux for a path. The cache keeps the path of each volume. */
const maxPathLength = 4_096;
/**
 * The limit for the attributes, the secrets and the tokens each: many times what a class has. Each
 * entry costs memory, and an unknown parameter a warning.
 */
const maxEntries = 200;
/** Names of namespaces, pods and accounts. They enter metrics, logs and API paths. */
const kubernetesName = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const podUid = /^[A-Za-z0-9-]{1,128}$/;

/**
 * Parses the driver's request. The driver sets its own keys (`csi.storage.k8s.io/*`,
 * `secretProviderClass`) in every request, so they are not parameters of the class.
 * @throws SecretError INVALID_REQUEST
 */
export function parseRequest(raw: RawMountRequest, provider: string): MountRequest {
  if (Buffer.byteLength(raw.attributes) > maxAttributesBytes) {
    throw invalid('the attributes exceed 1 MiB', 'split the class');
  }
  if (raw.targetPath.length > maxPathLength) {
    throw invalid(
      `the target path exceeds ${maxPathLength} characters`,
      'only a driver should call this socket',
    );
  }
  const attributes = stringMap(raw.attributes, 'attributes');
  const secrets = stringMap(raw.secrets === '' ? 'null' : raw.secrets, 'secrets');
  const workload = buildWorkload({
    provider,
    namespace: attributes[`${kubernetes}pod.namespace`],
    serviceAccount: attributes[`${kubernetes}serviceAccount.name`],
    pod: attributes[`${kubernetes}pod.name`],
    uid: attributes[`${kubernetes}pod.uid`],
    volume: raw.targetPath,
    className: attributes[classKey],
    tokens: parseTokens(attributes[tokensKey] ?? secrets[tokensKey]),
    secrets: podSuppliedSecrets(secrets),
  });
  return {
    workload,
    parameters: withoutDriverKeys(attributes),
    permission: parsePermission(raw.permission),
  };
}

/** A pod with one volume, before its names are checked. */
export type PodVolume = {
  readonly provider: string;
  readonly namespace: string | undefined;
  readonly serviceAccount: string | undefined;
  readonly pod: string | undefined;
  readonly uid: string | undefined;
  /** Distinguishes the volumes of one pod and provider: the target path. */
  readonly volume: string;
  readonly className: string | undefined;
  readonly tokens: Workload['tokens'];
  readonly secrets: Workload['secrets'];
};

/**
 * The workload of a pod.
 * @throws SecretError INVALID_REQUEST for a name or uid that is not valid in Kubernetes
 */
export function buildWorkload(podVolume: PodVolume): Workload {
  const { provider, volume, className, tokens, secrets } = podVolume;
  const uid = checkAttribute('pod.uid', podVolume.uid, podUid);
  const tenant = checkAttribute('pod.namespace', podVolume.namespace, kubernetesName);
  const account = checkAttribute('serviceAccount.name', podVolume.serviceAccount, kubernetesName);
  return {
    tenant,
    identity: { name: account },
    instance: uid,
    pod: { name: checkAttribute('pod.name', podVolume.pod, kubernetesName), uid },
    // A controller sends its own pod and one path for the volumes of every namespace.
    volume: JSON.stringify([provider, tenant, account, uid, volume]),
    ...(className !== undefined && kubernetesName.test(className) && { className }),
    tokens,
    secrets,
  };
}

function checkAttribute(name: string, value: string | undefined, pattern: RegExp): string {
  if (value !== undefined && pattern.test(value)) return value;
  throw invalid(
    `the attributes have no usable ${kubernetes}${name}`,
    'the CSIDriver object needs podInfoOnMount: true',
  );
}

/**
 * Parses a JSON object of strings; `null` is an empty one. No message quotes the text: it may hold
 * secrets.
 */
function stringMap(text: string, what: string): Parameters {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw invalid(
      `the ${what} are not JSON`,
      'only a Secrets Store CSI driver should call this socket',
    );
  }
  if (parsed === null) return noParameters;
  if (typeof parsed !== 'object' || Array.isArray(parsed)) throw notStrings(what);
  // The keys come from the user: an inherited property must never be found.
  const map = Object.setPrototypeOf(parsed, null) as Record<string, unknown>;
  let entries = 0;
  for (const key in map) {
    if (typeof map[key] !== 'string') throw notStrings(what);
    entries += 1;
    if (entries > maxEntries) throw tooMany(what);
  }
  return map as Record<string, string>;
}

const noParameters: Parameters = Object.freeze(Object.create(null) as Parameters);

function parseTokens(text: string | undefined): ReadonlyMap<string, SuppliedToken> {
  const tokens = new Map<string, SuppliedToken>();
  if (text === undefined || text === '') return tokens;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw invalid(
      `${tokensKey} is not JSON`,
      'let the driver set it: CSIDriver spec.tokenRequests',
    );
  }
  const entries = Object.entries(parsed ?? {});
  if (entries.length > maxEntries) throw tooMany(tokensKey);
  for (const [audience, entry] of entries) {
    const { token, expirationTimestamp } = (entry ?? {}) as Record<string, unknown>;
    if (typeof token !== 'string' || token === '') {
      throw invalid(
        `${tokensKey} has an entry without a token`,
        'let the driver set it: CSIDriver spec.tokenRequests',
      );
    }
    const expiresAt =
      typeof expirationTimestamp === 'string' ? Date.parse(expirationTimestamp) : NaN;
    tokens.set(audience, {
      token: new Redacted(token),
      ...(!Number.isNaN(expiresAt) && { expiresAt }),
    });
  }
  return tokens;
}

/**
 * From Kubernetes 1.35 on, the secrets may hold the tokens too. They are not keys that the pod
 * supplies.
 */
function podSuppliedSecrets(secrets: Parameters): ReadonlyMap<string, Redacted> {
  const names = Object.keys(secrets).filter((name) => !name.startsWith(kubernetes));
  return new Map(names.map((name) => [name, new Redacted(secrets[name] ?? '')]));
}

/**
 * The parameters of the class: all attributes except the driver's own keys.
 * @throws SecretError INVALID_REQUEST for more than 200 entries
 */
export function withoutDriverKeys(attributes: Parameters): Parameters {
  if (Object.keys(attributes).length > maxEntries) throw tooMany('attributes');
  const parameters = Object.create(null) as Record<string, string>;
  for (const key in attributes) {
    if (!key.startsWith(kubernetes) && key !== classKey) parameters[key] = attributes[key] ?? '';
  }
  return parameters;
}

function parsePermission(text: string): number {
  const permission = /^[0-9]{1,4}$/.test(text) ? Number(text) : NaN;
  if (permission <= 0o777) return permission;
  throw invalid(
    'the permission is not a decimal file mode from 0 to 511',
    'the driver sends 420, which is 0644',
  );
}

function tooMany(what: string): SecretError {
  return invalid(
    `the ${what} have more than ${maxEntries} entries`,
    'remove the entries that no provider reads',
  );
}

function notStrings(what: string): SecretError {
  return invalid(`the ${what} are not a JSON object of strings`, 'quote every value of the class');
}

function invalid(message: string, hint: string): SecretError {
  return new SecretError('INVALID_REQUEST', message, { hint });
}

/**
 * Limits the volumes and the characters of their requests. Tokens in them are kept for a few rounds
 * of the driver, which take two minutes each by default.
 */
const cacheLimits = {
  max: 1_000,
  maxSize: 4 * 1024 * 1024,
  ttl: 10 * 60_000,
  ttlResolution: 0,
  ttlAutopurge: true,
};

type CachedRequest = Pick<RawMountRequest, 'attributes' | 'secrets' | 'permission'> & {
  readonly request: MountRequest;
};

/**
 * {@link parseRequest} with a cache of each volume's last request. Until a token is renewed, the
 * driver sends the same text, and parsing it was measured to take a fifth of a cached mount.
 * Requests with keys of the pod's own are parsed every time: such keys are valid for years, and
 * this cache must not retain them.
 * @param now milliseconds of a monotonic clock
 */
export function createRequestReader(now = (): number => performance.now()): typeof parseRequest {
  const lastRequests = new LRUCache<string, CachedRequest>({ ...cacheLimits, perf: { now } });
  return (raw, provider) => {
    const { attributes, secrets, permission } = raw;
    const volume = `${provider} ${raw.targetPath}`;
    const last = lastRequests.get(volume);
    if (
      last?.attributes === attributes &&
      last.secrets === secrets &&
      last.permission === permission
    ) {
      return last.request;
    }
    const request = parseRequest(raw, provider);
    if (request.workload.secrets.size === 0) {
      const size = volume.length + attributes.length + secrets.length;
      lastRequests.set(volume, { attributes, secrets, permission, request }, { size });
    }
    return request;
  };
}

/** Mounts a request of the driver. Rejects only with SecretError. */
export type DriverMount = (request: RawMountRequest, context: MountContext) => Promise<Volume>;

/**
 * Parses each request of the driver and mounts it.
 * @param deps.onInvalid reports a request that cannot be parsed
 */
export function createDriverMount({
  mount,
  onInvalid,
}: {
  readonly mount: Mount;
  readonly onInvalid: (provider: string, error: SecretError) => void;
}): DriverMount {
  const readRequest = createRequestReader();
  return async (raw, context) => {
    let request: MountRequest;
    try {
      request = readRequest(raw, context.provider);
    } catch (thrown) {
      const error = toSecretError(thrown);
      onInvalid(context.provider, error);
      throw error;
    }
    return mount(request, context);
  };
}
