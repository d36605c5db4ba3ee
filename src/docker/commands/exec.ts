import type { CommandLine } from '../compose/command-line.ts';
import { type Container, findContainers } from '../compose/containers.ts';
import type { Docker } from '../compose/docker.ts';
import { commandFlags, isOn, readFlags, valuesOf } from '../compose/flags.ts';
import { findProjectName } from '../compose/model.ts';
import { composeLabels } from '../model/labels.ts';
import { secretsDirectory, shimDirectory, shimWords } from '../model/volumes.ts';

/**
 * The line of `docker compose exec` in which the shim starts the program, so that any program sees
 * the secrets. A container without secrets, or with `exec: off`, keeps the line as it is.
 */
export async function withShim(line: CommandLine, docker: Docker): Promise<CommandLine> {
  const table = commandFlags.get('exec') ?? { names: new Map(), values: new Set() };
  const { parts, rest } = readFlags(line.args, table);
  const words = rest[0] === '--' ? rest.slice(1) : rest;
  const [service, ...program] = words;
  if (isOn(parts, 'help') || service === undefined || program.length === 0) return line;
  const project = await findProjectName(docker, line.compose);
  if (project === undefined) return line;
  const number = Number(valuesOf(parts, 'index').at(-1) ?? 0);
  const found = await findContainers(docker, [
    `${composeLabels.project}=${project}`,
    `${composeLabels.service}=${service}`,
    `${composeLabels.oneOff}=False`,
    ...(number > 0 ? [`${composeLabels.number}=${number}`] : []),
  ]);
  // Compose says what is wrong if no container runs.
  const containers = 'containers' in found ? found.containers : [];
  if (containers.length === 0 || !containers.every(showsSecrets)) return line;
  const flags = line.args.slice(0, line.args.length - words.length);
  return { ...line, args: [...flags, service, ...shimWords, ...program] };
}

/** Whether the container has the shim, and `docker exec` may see the secrets. */
function showsSecrets({ volumes, env }: Container): boolean {
  return (
    volumes.includes(secretsDirectory) &&
    env.some((entry) => entry.startsWith(`PATH=${shimDirectory}:`))
  );
}
