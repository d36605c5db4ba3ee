import type { SecretStatus, ServiceStatus } from '../agent-api.ts';
import type { Container } from '../compose/containers.ts';
import { formatReference } from '../model/reference.ts';
import type { Injection } from '../model/types.ts';
import { filesDirectory } from '../model/volumes.ts';

/** How the secrets of a service differ from those of its containers. */
export type ServiceDifference = {
  readonly service: string;
  /** What `up` does with its containers because of its secrets. */
  readonly action: 'create' | 'recreate' | 'start' | 'none';
  readonly secrets: readonly SecretDifference[];
  /** Whether a container has a value that is not current. `up` does not change that. */
  readonly isStale: boolean;
  /** Whether the agent brings the current value to them by itself. */
  readonly rotates: boolean;
  /** Milliseconds since the epoch. */
  readonly staleSince?: number;
};

/** How one secret differs. Sources are references. */
export type SecretDifference = Pick<SecretStatus, 'name' | 'kind'> & {
  readonly change: 'new' | 'removed' | 'changed';
  /** Absent: removed. */
  readonly source?: string;
  /** Absent: new. */
  readonly before?: string;
};

/** What is compared. */
export type ServiceToCompare = {
  readonly service: string;
  /** What the Compose files ask for. Absent: no secrets. */
  readonly injection: Injection | undefined;
  /** The digest of what they ask for; empty without secrets. */
  readonly references: string;
  readonly containers: readonly Pick<Container, 'references' | 'isRunning'>[];
  /** What the containers have. Absent: it is not known. */
  readonly status: ServiceStatus | undefined;
};

/** @returns undefined if there is no difference */
export function compareService(compared: ServiceToCompare): ServiceDifference | undefined {
  const { service, injection, containers, status } = compared;
  const hadSecrets = containers.some(({ references }) => references !== '');
  if (injection === undefined && !hadSecrets) return undefined;
  const action = actionOf(compared);
  const makes = action === 'create' || action === 'recreate';
  const isStale = !makes && status?.state === 'STALE';
  if (action === 'none' && !isStale) return undefined;
  const before = hadSecrets ? (status?.secrets ?? []) : [];
  const { staleSince } = status ?? {};
  return {
    ...{ service, action, isStale, rotates: status?.rotation !== undefined },
    secrets: makes ? compareSecrets(before, secretsOf(injection)) : [],
    ...(isStale && staleSince !== undefined && { staleSince }),
  };
}

function actionOf({ references, containers }: ServiceToCompare): ServiceDifference['action'] {
  if (containers.length === 0) return 'create';
  if (containers.some((container) => container.references !== references)) return 'recreate';
  return containers.some(({ isRunning }) => isRunning) ? 'none' : 'start';
}

type Secret = Pick<SecretStatus, 'name' | 'kind' | 'source'>;

/** The secrets as a `ServiceStatus` has them. */
function secretsOf(injection: Injection | undefined): readonly Secret[] {
  const { variables = [], files = [] } = injection ?? {};
  return [
    ...variables.map(({ name, ref }) => toSecret(name, { kind: 'variable', ref })),
    ...files.map(({ path, ref }) => toSecret(`${filesDirectory}/${path}`, { kind: 'file', ref })),
  ];
}

function toSecret(name: string, reference: Parameters<typeof formatReference>[0]): Secret {
  return { name, kind: reference.kind, source: formatReference(reference) };
}

/** Sorted by name, since the two sides have orders of their own. */
function compareSecrets(
  before: readonly Secret[],
  after: readonly Secret[],
): readonly SecretDifference[] {
  const keyOf = ({ kind, name }: Secret): string => `${kind} ${name}`;
  const olds = new Map(before.map((secret) => [keyOf(secret), secret]));
  const news = new Set(after.map(keyOf));
  const found = after.flatMap((secret): readonly SecretDifference[] => {
    const old = olds.get(keyOf(secret));
    if (old === undefined) return [{ ...secret, change: 'new' }];
    return old.source === secret.source
      ? []
      : [{ ...secret, change: 'changed', before: old.source }];
  });
  const removed = before
    .filter((secret) => !news.has(keyOf(secret)))
    .map(({ name, kind, source }): SecretDifference => {
      return { name, kind, change: 'removed', before: source };
    });
  return [...found, ...removed].sort((one, other) => (one.name < other.name ? -1 : 1));
}
