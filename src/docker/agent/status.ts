import { filesDirectory } from '../model/volumes.ts';
import { formatReference } from '../model/reference.ts';
import type { DsoRef } from '../model/reference.ts';
import type { SecretStatus, ServiceStatus } from '../agent-api.ts';
import { toFailure } from './control-api.ts';
import { fileKey, variableKey } from './deliver.ts';
import { type DeliveryRecord, versionIn } from './mount-record.ts';
import type { ServiceMounts } from './service-mounts.ts';

/**
 * What the containers of a service have.
 * @param storeOf the name of the store in the host's configuration
 */
export function statusOf(service: ServiceMounts, storeOf: (ref: DsoRef) => string): ServiceStatus {
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
  const { failure } = service;
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
  };
}

function stateOf(service: ServiceMounts): ServiceStatus['state'] {
  if (service.failure !== undefined) return 'FAILED';
  if (service.containers === 0) return 'INACTIVE';
  return service.isStale ? 'STALE' : 'ACTIVE';
}
