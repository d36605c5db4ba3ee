import { filesDirectory } from '../model/volumes.ts';
import { formatReference } from '../model/reference.ts';
import type { DsoRef } from '../model/reference.ts';
import { type SecretStatus, type ServiceStatus, toFailure } from '../agent-api.ts';
import type { SecretError } from '../../core/errors.ts';
import { type Wanted } from './deliver.ts';
import { type DeliveryRecord, fileKey, variableKey, versionIn } from './delivery-record.ts';

/** A service, what it asks for, and what its containers have. */
export type DeliveredService = {
  readonly wanted: Wanted;
  /** The number of containers that have the service's secrets. */
  readonly containers: number;
  /** What the newest container started with. */
  readonly started: DeliveryRecord | undefined;
  /** What the volumes hold. */
  readonly current: DeliveryRecord | undefined;
  /** Whether a container runs with variables that have changed since its start. */
  readonly isStale: boolean;
  /** Since when, in milliseconds since the epoch. */
  readonly staleSince?: number | undefined;
  /** The failure of the last start or read. */
  readonly failure: SecretError | undefined;
};

/**
 * What the containers of a service have.
 * @param storeOf the name of the store in the host's configuration
 */
export function statusOf(
  service: DeliveredService,
  storeOf: (ref: DsoRef) => string,
): ServiceStatus {
  const { injection } = service.wanted;
  const secret = (
    kind: SecretStatus['kind'],
    name: string,
    ref: DsoRef,
    key: string,
    record: DeliveryRecord | undefined,
  ): SecretStatus => {
    const version = versionIn(record, key);
    return {
      ...{ name, kind, source: formatReference({ kind, ref }), store: storeOf(ref) },
      ...(record !== undefined && version !== undefined && { version, deliveredAt: record.at }),
    };
  };
  const files = new Map(injection.files.map((file) => [file.path, file.ref]));
  const { failure, staleSince } = service;
  return {
    ...{ project: injection.project, service: injection.service },
    state: stateOf(service),
    mounts: service.containers,
    secrets: [
      // A running program keeps its variables. Its files are always the current ones.
      ...injection.variables.map(({ name, ref }) =>
        secret('variable', name, ref, variableKey(name), service.started),
      ),
      ...Array.from(files, ([path, ref]) =>
        secret('file', `${filesDirectory}/${path}`, ref, fileKey(path), service.current),
      ),
    ],
    ...(failure && { failure: toFailure(failure) }),
    ...(service.isStale && staleSince !== undefined && { staleSince }),
  };
}

function stateOf(service: DeliveredService): ServiceStatus['state'] {
  if (service.failure !== undefined) return 'FAILED';
  if (service.containers === 0) return 'INACTIVE';
  return service.isStale ? 'STALE' : 'ACTIVE';
}
