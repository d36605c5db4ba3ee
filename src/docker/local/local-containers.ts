import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { ServiceStatus } from '../agent-api.ts';
import type { Container } from '../compose/containers.ts';
import type { DeliveredService } from '../delivery/status.ts';
import { secretsDirectory } from '../model/volumes.ts';
import type { LocalRecord } from './local-records.ts';

/** Whether local mode has started a container: an agent's volume is no directory of the host. */
export function isLocal({ binds }: Pick<Container, 'binds'>): boolean {
  return binds.has(secretsDirectory);
}

/** A service as its containers have it. A container has the variables of its start. */
export function serviceOf(
  { wanted, current, variablesSince }: LocalRecord,
  containers: readonly Container[],
): DeliveredService {
  const running = containers.filter(
    ({ service, isRunning }) => isRunning && service === wanted.injection.service,
  );
  const isStale = running.some(({ startedAt }) => startedAt < variablesSince);
  return {
    ...{ wanted, current, isStale, failure: undefined },
    // What a container had before is not kept.
    started: isStale ? undefined : current,
    containers: running.length,
  };
}

/** The containers whose directory is gone: after a logout or a restart of the machine. */
export function goneStatuses(
  project: string,
  records: readonly LocalRecord[],
  containers: readonly Container[],
): readonly ServiceStatus[] {
  const known = new Set(records.map(({ wanted }) => wanted.injection.service));
  const gone = containers.filter(({ service }) => !known.has(service));
  const services = new Set(gone.map(({ service }) => service));
  return Array.from(services, (service) => {
    const own = gone.filter((each) => each.service === service);
    return {
      ...{ project, service, state: 'FAILED', secrets: [] },
      mounts: own.filter(({ isRunning }) => isRunning).length,
      failure: {
        code: 'NOT_CONFIGURED',
        message: `you have no directory of its secrets: ${sanitizeExternalText(own[0]?.binds.get(secretsDirectory) ?? '', [])} is gone after a logout or a restart of the machine, or is of another user`,
        hint: 'what runs goes on, and does not start again before: docker dso --mode local up -d',
      },
    };
  });
}
