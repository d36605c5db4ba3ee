import { realpath, writeFile } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Environment } from '../compose/docker.ts';
import { makeDirectory, writeError } from '../host/host-files.ts';
import { type SourceFile, isWithin } from './source-file.ts';
import { type ValueFile, quote } from './store-commands.ts';

/** Where the old files are. */
export type Backup = {
  readonly directory: string;
  /** A command for a POSIX shell. */
  readonly restore: string;
};

/**
 * Where backups are: https://specifications.freedesktop.org/basedir-spec/latest
 * @param root the repository, in which they must not be
 * @throws SecretError NOT_CONFIGURED
 */
export async function backupPlace(env: Environment, root: string): Promise<string> {
  const { XDG_STATE_HOME: given = '', HOME: home = '' } = env;
  const state = isAbsolute(given) ? given : join(home, '.local/state');
  const place = join(state, 'dso/backups');
  const hint = 'set XDG_STATE_HOME to a directory outside of its repository';
  if (!isAbsolute(place))
    throw new SecretError('NOT_CONFIGURED', 'there is no place for a backup: HOME is not set', {
      hint,
    });
  if (isWithin(await realPlace(place), root))
    throw new SecretError(
      'NOT_CONFIGURED',
      `the backup would be in the project, at ${sanitizeUserText(place)}`,
      { hint },
    );
  return place;
}

/** The path without links, as far as it is there. */
async function realPlace(path: string): Promise<string> {
  const real = await realpath(path).catch(() => undefined);
  if (real !== undefined || path === dirname(path)) return real ?? path;
  return join(await realPlace(dirname(path)), basename(path));
}

/**
 * Copies files as they are, for their owner alone.
 * @param place of {@link backupPlace}
 * @param name of the new directory
 * @throws SecretError NOT_CONFIGURED
 */
export async function writeBackup(
  place: string,
  name: string,
  files: readonly SourceFile[],
): Promise<Backup> {
  await makeDirectory(place, 0o700);
  let directory = join(place, name);
  for (let number = 2; !(await makeDirectory(directory, 0o700)); number += 1)
    directory = join(place, `${name}-${number}`);
  const copies = files.map((file, index) => ({
    file,
    copy: join(directory, `${index + 1}-${basename(file.path)}`),
  }));
  for (const { file, copy } of copies) await writeOwn(copy, file.text);
  const script = join(directory, 'restore.sh');
  const lines = copies.map(({ file, copy }) => `cp -- ${quote(copy)} ${quote(file.path)}`);
  await writeOwn(script, `set -e\n${lines.join('\n')}\n`);
  return { directory, restore: `sh ${quote(script)}` };
}

/**
 * Writes the values for the commands of a store, for their owner alone.
 * @returns their directory
 */
export async function writeValues(
  { directory }: Backup,
  values: readonly ValueFile[],
): Promise<string> {
  const folder = join(directory, 'values');
  await makeDirectory(folder, 0o700);
  for (const { name, bytes } of values) await writeOwn(join(folder, name), bytes);
  return folder;
}

async function writeOwn(path: string, contents: string | Uint8Array): Promise<void> {
  try {
    await writeFile(path, contents, { mode: 0o600, flag: 'wx', flush: true });
  } catch (thrown) {
    throw writeError(path, thrown);
  }
}
