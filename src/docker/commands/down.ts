import type { SecretReader } from '../agent-api.ts';
import { commandFlags, isOn, readFlags, valuesOf } from '../compose/flags.ts';
import { findProjectName } from '../compose/model.ts';
import { LocalCleanup } from '../local/local-cleanup.ts';
import { isVolumeOf } from '../model/volumes.ts';
import type { CommandContext } from './context.ts';

type Cleanup = Pick<SecretReader, 'deleteProject' | 'mayHaveProjects'>;

/**
 * Runs `docker compose down`. If the whole application goes, its volumes of secrets go too, and the
 * agent forgets it.
 * @returns the exit code
 */
export async function down(context: CommandContext): Promise<number> {
  const { line, docker, agent, mode } = context;
  const table = commandFlags.get('down') ?? { names: new Map(), values: new Set() };
  const { parts, rest } = readFlags(line.args, table, { interspersed: true });
  const isPartial = rest.length > 0 || parts.some(({ flag }) => flag === undefined);
  const isTrial = isOn([...line.compose, ...parts], 'dry-run') || isOn(parts, 'help');
  const readsStdin = valuesOf(line.compose, 'file').includes('-');
  const isWhole = !isPartial && !isTrial && !readsStdin;
  const readers = isWhole ? await readersToTell(context) : [];
  const asked = readers.length > 0 ? findProjectName(docker, line.compose) : undefined;
  const words = line.compose.flatMap((part) => part.words);
  const code = await docker.run(['compose', ...words, 'down', ...line.args]);
  const name = await asked;
  if (code !== 0 || name === undefined) return code;
  // Without its containers, only names are left. A failure leaves them there, and does no harm.
  if (readers.includes(agent) && mode !== 'local')
    await removeVolumes(context, name).catch(() => undefined);
  for (const reader of readers) await reader.deleteProject(name).catch(() => undefined);
  return code;
}

/** An application may have been started with the agent, and in local mode as well. */
async function readersToTell({ agent, mode, env }: CommandContext): Promise<readonly Cleanup[]> {
  const readers = mode === 'local' ? [agent] : [agent, new LocalCleanup(env)];
  const may = await Promise.all(readers.map((reader) => reader.mayHaveProjects()));
  return readers.filter((_, index) => may[index]);
}

/** An engine that starts without the agent waits 15 seconds for each volume that it knows. */
async function removeVolumes({ docker, agent }: CommandContext, project: string): Promise<void> {
  const source = await agent.volumes();
  if (!('driver' in source)) return;
  const filter = `driver=${source.driver}`;
  const { stdout } = await docker.capture(['volume', 'ls', '--quiet', '--filter', filter]);
  const volumes = stdout.split('\n').filter((name) => isVolumeOf(project, name));
  if (volumes.length > 0) await docker.capture(['volume', 'rm', ...volumes]);
}
