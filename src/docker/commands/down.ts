import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { commandFlags, isOn, readFlags, valuesOf } from '../compose/flags.ts';
import { loadModel } from '../compose/model.ts';
import { defaultDriver, volumeNames } from '../model/volumes.ts';
import type { CommandContext } from './context.ts';

/**
 * Runs `docker compose down`. If the whole application goes, its volumes of secrets go too, and the
 * agent forgets it.
 * @returns the exit code
 */
export async function down(context: CommandContext): Promise<number> {
  const { line, docker, agent } = context;
  const table = commandFlags.get('down') ?? { names: new Map(), values: new Set() };
  const { parts, rest } = readFlags(line.args, table, { interspersed: true });
  const isPartial = rest.length > 0 || parts.some(({ flag }) => flag === undefined);
  const isTrial = isOn([...line.compose, ...parts], 'dry-run') || isOn(parts, 'help');
  const readsStdin = valuesOf(line.compose, 'file').includes('-');
  const isWhole = !isPartial && !isTrial && !readsStdin;
  const asked = isWhole ? nameOfProject(context) : undefined;
  const words = line.compose.flatMap((part) => part.words);
  const code = await docker.run(['compose', ...words, 'down', ...line.args]);
  const name = await asked;
  if (code !== 0 || name === undefined) return code;
  // Without its containers, only names are left. A failure leaves them there, and does no harm.
  await removeVolumes(context, name).catch(() => undefined);
  await agent.deleteProject(name).catch(() => undefined);
  return code;
}

/** An engine that starts without the agent waits 15 seconds for each volume that it knows. */
async function removeVolumes({ docker, env }: CommandContext, project: string): Promise<void> {
  const { DSO_VOLUME_DRIVER: driver = '' } = env;
  const filter = `driver=${driver === '' ? defaultDriver : driver}`;
  const { stdout } = await docker.capture(['volume', 'ls', '--quiet', '--filter', filter]);
  const prefixes = Object.values(volumeNames(project, ''));
  const volumes = stdout
    .split('\n')
    .filter((name) => prefixes.some((prefix) => name.startsWith(prefix)));
  if (volumes.length > 0) await docker.capture(['volume', 'rm', ...volumes]);
}

/** Undefined if it cannot be found out, or if no agent runs. */
async function nameOfProject({ line, docker, agent }: CommandContext): Promise<string | undefined> {
  const named = valuesOf(line.compose, 'project-name').at(-1);
  const isThere = await access(agent.socket, constants.W_OK).then(
    () => true,
    () => false,
  );
  if (!isThere || named !== undefined) return isThere ? named : undefined;
  const { model } = await loadModel({ docker, flags: line.compose }).catch(() => ({
    model: undefined,
  }));
  return typeof model?.name === 'string' ? model.name : undefined;
}
