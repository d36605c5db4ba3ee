import { randomBytes } from 'node:crypto';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readFile,
  readdir,
  readlink,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { SecretError, errorCodeOf } from '../core/errors.ts';
import { sanitizeUserText } from '../core/safe-text.ts';
import { checkFilePath } from '../formats/file-path.ts';
import type { Volume } from './types.ts';

/** A file of a volume. */
export type WrittenFile = Volume['files'][number] & {
  /** The numbers of its owner and of its group. Absent: those of this process. */
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
};

type Files = ReadonlyMap<string, WrittenFile>;

/**
 * Writes a volume into `directory` as the driver's atomic writer does: the files go into a new
 * directory `..YYYY_MM_DD_...`, then one rename points the symlink `..data` to it, and each first
 * path component is a symlink through `..data`. A reader sees the old volume or the new one, never
 * a mix.
 *
 * Files that are not in the volume are removed. If all contents are the same, nothing is written.
 * So a change of only the mode is ignored, and an empty volume changes nothing (as in driver 1.6).
 * `always` writes nevertheless. Of two files with one path the last one wins.
 *
 * The directory is created for its owner only, if it does not exist.
 * @returns whether anything changed
 * @throws SecretError for an unsafe path, and if a file of another program has the name of a file
 */
export async function writeVolume(
  directory: string,
  volume: { readonly files: readonly WrittenFile[] },
  { always = false }: { readonly always?: boolean } = {},
): Promise<boolean> {
  const files: Files = new Map(volume.files.map((file) => [file.path, file]));
  if (files.size === 0) return false;
  const roots = rootNames(files.keys());
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const missing: string[] = [];
  for (const root of roots) if (await isUnused(directory, root)) missing.push(root);

  const oldData = await currentData(directory);
  const oldPaths = oldData === undefined ? [] : await listFiles(join(directory, oldData));
  const isKept = oldData !== undefined && !always;
  if (isKept && (await isSame(join(directory, oldData), oldPaths, files))) return false;

  const newData = await writeData(directory, files);
  await symlink(newData, join(directory, `${newData}_tmp`));
  await rename(join(directory, `${newData}_tmp`), join(directory, '..data'));
  for (const root of missing) await symlink(join('..data', root), join(directory, root));
  for (const root of rootNames(oldPaths))
    if (!roots.has(root)) await rm(join(directory, root), { force: true });
  if (oldData !== undefined) await rm(join(directory, oldData), { recursive: true, force: true });
  return true;
}

/** The first components of all paths: the entries of the volume's root. */
function rootNames(paths: Iterable<string>): Set<string> {
  const roots = new Set<string>();
  for (const path of paths) {
    const problem = checkFilePath(path);
    if (problem !== undefined)
      throw new SecretError('INVALID_REQUEST', `file path "${sanitizeUserText(path)}" ${problem}`);
    roots.add(path.split('/')[0] ?? path);
  }
  return roots;
}

/**
 * Whether the name is free in the volume's root. False if it is our symlink. A file of another
 * program is neither overwritten nor shown as a secret.
 * @throws SecretError for such a file
 */
async function isUnused(directory: string, name: string): Promise<boolean> {
  const target = await linkTarget(directory, name);
  if (target === undefined || target === join('..data', name)) return target === undefined;
  throw new SecretError(
    'INVALID_REQUEST',
    `${sanitizeUserText(join(directory, name))} exists and is not a file of a mounted volume`,
    {
      hint: 'name an empty directory',
    },
  );
}

/**
 * The name of the directory that `..data` points to. Only a plain name `..x` is accepted, because
 * the directory is removed later.
 */
async function currentData(directory: string): Promise<string | undefined> {
  const target = await linkTarget(directory, '..data');
  if (target === undefined || /^\.\.[^/]+$/.test(target)) return target;
  throw new SecretError(
    'INVALID_REQUEST',
    `${sanitizeUserText(join(directory, '..data'))} does not point to a directory of a mounted volume`,
    {
      hint: 'name an empty directory',
    },
  );
}

/** The target of a symlink; undefined if the name is free, empty if it is not a symlink. */
async function linkTarget(directory: string, name: string): Promise<string | undefined> {
  const stat = await lstat(join(directory, name)).catch(undefinedIfMissing);
  if (stat === undefined) return undefined;
  return stat.isSymbolicLink() ? readlink(join(directory, name)) : '';
}

async function isSame(data: string, oldPaths: readonly string[], files: Files): Promise<boolean> {
  if (oldPaths.length !== files.size) return false;
  for (const path of oldPaths) {
    const file = files.get(path);
    if (file === undefined) return false;
    // A file that cannot be read (mode 0) counts as changed.
    const old = await readFile(join(data, path)).catch(() => undefined);
    if (old?.equals(file.contents) !== true) return false;
  }
  return true;
}

async function writeData(directory: string, files: Files): Promise<string> {
  const stamp = new Date().toISOString().slice(0, 19).replace(/[-T:]/g, '_');
  const name = `..${stamp}.${randomBytes(5).toString('hex')}`;
  const data = join(directory, name);
  await mkdir(data, { mode: 0o755 });
  try {
    for (const { path, mode, contents, uid, gid } of files.values()) {
      await mkdir(dirname(join(data, path)), { recursive: true, mode: 0o755 });
      await writeFile(join(data, path), contents, { flag: 'wx', mode: 0o600 });
      // -1 leaves the number as it is.
      if (uid !== undefined || gid !== undefined)
        await chown(join(data, path), uid ?? -1, gid ?? -1);
      // `mkdir` and `writeFile` apply the umask; `chmod` does not.
      await chmod(join(data, path), mode);
    }
    return name;
  } catch (error) {
    await rm(data, { recursive: true, force: true });
    throw error;
  }
}

async function listFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)));
}

function undefinedIfMissing(error: unknown): undefined {
  if (errorCodeOf(error) === 'ENOENT') return undefined;
  throw error;
}
