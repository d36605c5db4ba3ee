import { Command } from 'commander';
import { escapeUnprintable } from '../../core/safe-text.ts';
import type { JsonValue } from '../../formats/json.ts';
import { printableJson } from '../../formats/printable-json.ts';
import type { RotationStatus, ServiceStatus } from '../agent-api.ts';
import { type Container, findContainers, literalReferences } from '../compose/containers.ts';
import { valuesOf } from '../compose/flags.ts';
import { toEngineError } from '../compose/images.ts';
import { loadModel, printable } from '../compose/model.ts';
import { isLocal as isLocalContainer } from '../local/local-containers.ts';
import { objectOf } from '../model/compose-model.ts';
import { composeLabels } from '../model/labels.ts';
import type { CommandContext } from './context.ts';
import {
  type Format,
  failureText,
  formatOption,
  formatTable,
  formatTime,
  isoTime,
} from './output.ts';
import { unknownService } from './services.ts';

/** A container whose variables have references as their values. */
type LiteralReferences = { readonly container: string; readonly variables: readonly string[] };

/** `docker dso inspect SERVICE`: which secrets a service has. No values. */
export function inspectCommand(context: CommandContext): Command {
  const { agent, mode, openLocal, stdout, stderr, setExitCode } = context;
  return new Command('inspect')
    .argument('<service>', 'a service of the application')
    .addOption(formatOption())
    .action(async (service: string, { format }: { format: Format }) => {
      const application = await findServices(context);
      if (application === undefined) return setExitCode(1);
      const { project, services } = application;
      const containers = await containersOf(context, project, service);
      const literals = findLiterals(containers);
      // What was started in local mode is not known to an agent.
      const isLocal = mode === 'local' || (mode === undefined && containers.some(isLocalContainer));
      const statuses = await (isLocal ? await openLocal() : agent).services(project);
      const status = statuses.find((each) => each.service === service);
      if (status === undefined && services !== undefined && !services.includes(service))
        throw unknownService(service, services);
      stdout.write(
        format === 'json'
          ? asJson({ project, service, isLocal }, status, literals)
          : asText({ project, service, isLocal }, status),
      );
      if (format === 'text')
        for (const line of warnings(service, literals)) stderr.write(`docker dso: ${line}\n`);
    });
}

/** The project's name and its services. Undefined if Compose failed, and has said why. */
async function findServices({ line, docker, stderr }: CommandContext) {
  const named = valuesOf(line.compose, 'project-name').at(-1);
  const composed = await loadModel({ docker, flags: line.compose });
  if (composed.model !== undefined) {
    const { name, services } = composed.model;
    return { project: textOf(name), services: Object.keys(objectOf(services)) };
  }
  // Its containers can be looked at without its files.
  if (named !== undefined) return { project: named };
  stderr.write(printable(composed.errors));
  return undefined;
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : '';
}

async function containersOf(
  { docker }: CommandContext,
  project: string,
  service: string,
): Promise<readonly Container[]> {
  const labels = [`${composeLabels.project}=${project}`, `${composeLabels.service}=${service}`];
  const found = await findContainers(docker, labels, { all: true });
  if ('errors' in found) throw toEngineError(found.errors);
  return found.containers;
}

function findLiterals(containers: readonly Container[]): readonly LiteralReferences[] {
  return containers
    .filter(({ isRunning }) => isRunning)
    .map((container) => ({ container: container.name, variables: literalReferences(container) }))
    .filter(({ variables }) => variables.length > 0);
}

/** What is shown. */
type Subject = {
  readonly project: string;
  readonly service: string;
  /** Whether it runs without an agent. */
  readonly isLocal: boolean;
};

function asJson(
  { project, service, isLocal }: Subject,
  status: ServiceStatus | undefined,
  literals: readonly LiteralReferences[],
): string {
  const { state = 'INACTIVE', mounts = 0, secrets = [] } = status ?? {};
  const { failure, staleSince, rotation } = status ?? {};
  const dated = secrets.map(({ deliveredAt, ...secret }) => ({
    ...secret,
    ...(deliveredAt !== undefined && { deliveredAt: isoTime(deliveredAt) }),
  }));
  return `${printableJson({
    ...{ version: 1, project, service, mode: isLocal ? 'local' : 'agent', status: state },
    ...{ containers: mounts, secrets: dated },
    ...(staleSince !== undefined && { staleSince: isoTime(staleSince) }),
    ...(failure && { failure }),
    ...(rotation && { rotation: datedRotation(rotation) }),
    literalReferences: literals,
  })}\n`;
}

function asText({ project, service, isLocal }: Subject, status: ServiceStatus | undefined): string {
  const { state = 'INACTIVE', mounts = 0, secrets = [], failure, staleSince } = status ?? {};
  const since = state === 'STALE' ? ` since ${formatTime(staleSince)}` : '';
  const first = `Secret injection status: ${state}${since}\n`;
  const name = escapeUnprintable(service);
  if (status === undefined)
    return `${first}${name} has no secrets, or docker dso up has not started it.\n`;
  const containers = `${mounts} ${mounts === 1 ? 'container' : 'containers'}`;
  const have = mounts === 1 ? 'has' : 'have';
  const values = isLocal ? 'values that docker dso has read last' : 'current values';
  const about = {
    ACTIVE: `${containers} of ${name} in ${escapeUnprintable(project)} ${have} the ${values}.`,
    STALE: staleText(name, status.rotation),
    INACTIVE: `No container of ${name} runs with its secrets. To start one: docker dso up -d ${name}`,
    FAILED: 'The last start or read failed.',
  }[state];
  const cause = failure && failureText(failure);
  const rows = secrets.map(({ name: target, source, store, version = '-', deliveredAt }) => [
    ...[target, source, store, version, formatTime(deliveredAt)],
  ]);
  return [
    first,
    `${about}\n`,
    ...(isLocal
      ? [
          'Mode: local, without an agent. Nothing rotates these secrets: docker dso up reads them again.\n',
        ]
      : []),
    ...rotationLines(status.rotation),
    ...(cause === undefined ? [] : [escapeUnprintable(`${failure?.code ?? ''}: ${cause}`), '\n']),
    '\n',
    formatTable([['NAME', 'SOURCE', 'STORE', 'VERSION', 'DELIVERED'], ...rows]),
  ].join('');
}

function staleText(name: string, rotation: RotationStatus | undefined): string {
  const changed = 'A value has changed since the start.';
  if (rotation === undefined) return `${changed} To use it: docker dso restart ${name}`;
  return rotation.state === 'running'
    ? `${changed} The rotation is under way.`
    : `${changed} The agent brings it to the containers.`;
}

function rotationLines(rotation: RotationStatus | undefined): readonly string[] {
  if (rotation === undefined) return [];
  const { strategy, state, rotatedAt, failure } = rotation;
  const last = rotatedAt === undefined ? '' : `, last at ${formatTime(rotatedAt)}`;
  if (failure === undefined)
    return [`Rotation: ${strategy}${state === 'running' ? ', under way' : last}\n`];
  return [
    `Rotation: ${strategy}, failed; it is tried again\n`,
    `${escapeUnprintable(`${failure.code}: ${failureText(failure)}`)}\n`,
  ];
}

function datedRotation({ rotatedAt, ...rotation }: RotationStatus): object {
  return {
    ...rotation,
    ...(rotatedAt !== undefined && { rotatedAt: isoTime(rotatedAt) }),
  };
}

function warnings(service: string, literals: readonly LiteralReferences[]): readonly string[] {
  return literals.map(({ container, variables }) =>
    escapeUnprintable(
      `warning: ${container} was started without docker dso: ${variables.join(', ')} ${variables.length === 1 ? 'has' : 'have'} the reference itself as the value; start it again: docker dso up -d ${service}`,
    ),
  );
}
