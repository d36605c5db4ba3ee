import { lstat, realpath } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { SecretError, errorCodeOf, fileProblemOf } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { WriteLock } from '../../files/write-lock.ts';
import type { Environment } from '../compose/docker.ts';
import { makeDirectory, writeError } from '../host/host-files.ts';
import { placesBelow } from '../setup/places.ts';
import { isInMemory } from '../volume/mount-table.ts';

/**
 * The configuration of the stores in local mode: what `DSO_USER_CONFIG` names, the host's for root,
 * and `~/.config/dso/dso.yaml` for other users.
 */
export function userConfigFile(env: Environment, userId: number | undefined): string {
  const named = env.DSO_USER_CONFIG ?? '';
  if (named !== '') return named;
  if (userId === 0) return placesBelow('/').configFile;
  const home = absolute(env.XDG_CONFIG_HOME) ?? join(env.HOME ?? '/', '.config');
  return join(home, 'dso/dso.yaml');
}

/** Where local mode writes values, all in memory and below one directory of the user. */
export type LocalPlaces = {
  /** Its owner alone can enter it. */
  readonly directory: string;
  /** `VOLUMES/NAME`: what a container mounts. */
  readonly volumes: string;
  /** What the services have, without values. */
  readonly records: string;
};

/** The places as they would be. Undefined if the user has no directory for runtime files. */
export async function findLocalPlaces(
  env: Environment,
  userId = process.getuid?.(),
): Promise<LocalPlaces | undefined> {
  const given = absolute(env.XDG_RUNTIME_DIR) ?? `/run/user/${userId ?? ''}`;
  const runtime = await realpath(given).catch(() => undefined);
  if (runtime === undefined) return undefined;
  const directory = join(runtime, 'dso');
  return { directory, volumes: join(directory, 'volumes'), records: join(directory, 'services') };
}

/**
 * Makes the places in the user's directory for runtime files, `XDG_RUNTIME_DIR` or by default
 * `/run/user/UID`. https://specifications.freedesktop.org/basedir-spec/latest
 * @throws SecretError NOT_CONFIGURED if there is no such directory, if it is not in memory, or if
 *   another user has it
 */
export async function prepareLocalPlaces(
  env: Environment,
  userId = process.getuid?.(),
): Promise<LocalPlaces> {
  const runtime = absolute(env.XDG_RUNTIME_DIR) ?? `/run/user/${userId ?? ''}`;
  const shown = sanitizeUserText(runtime);
  const hint = 'set XDG_RUNTIME_DIR to a directory of yours on a tmpfs, with mode 0700';
  const refuse = (cause: string, thrown?: unknown): SecretError =>
    new SecretError('NOT_CONFIGURED', `local mode cannot keep secrets in ${shown}: ${cause}`, {
      hint,
      cause: thrown,
    });
  const places = await findLocalPlaces(env, userId);
  if (places === undefined) throw refuse('there is no such directory');
  const parent = join(places.directory, '..');
  try {
    await checkOwner(parent, userId, refuse);
    if (!(await isInMemory(parent))) throw refuse('it is on a disk, and must be a tmpfs');
    await makeDirectory(places.directory, 0o700);
    // In a directory for all users, such as /dev/shm, another user may have made it.
    await checkOwner(places.directory, userId, refuse);
    await makeDirectory(places.volumes, 0o700);
    await makeDirectory(places.records, 0o700);
    return places;
  } catch (thrown) {
    if (thrown instanceof SecretError) throw thrown;
    throw refuse(errorCodeOf(thrown) ?? fileProblemOf(thrown), thrown);
  }
}

/** One command at a time writes to the places, or reads what others write there. */
export function lockPlaces({ directory }: LocalPlaces): WriteLock {
  return new WriteLock({
    path: join(directory, 'lock'),
    description: `directory ${sanitizeUserText(directory)}`,
    toError: (thrown) => writeError(directory, thrown),
  });
}

async function checkOwner(
  path: string,
  userId: number | undefined,
  refuse: (cause: string) => SecretError,
): Promise<void> {
  const { uid } = await lstat(path);
  if (uid !== userId) throw refuse(`it belongs to the user ${uid}, and not to you`);
}

/** The specification says to ignore a relative path. */
function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined;
}
