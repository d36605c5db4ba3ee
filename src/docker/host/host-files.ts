import { randomBytes } from 'node:crypto';
import { lstat, mkdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SecretError, errorCodeOf } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { replaceFile } from '../../files/replace-file.ts';

const remedies: Readonly<Record<string, readonly [cause: string, hint: string]>> = {
  EACCES: ['permission denied', 'run it with sudo, or name a place of yours'],
  EPERM: ['permission denied', 'run it with sudo, or name a place of yours'],
  EROFS: ['its file system is read-only', 'name a place that can be written'],
  ENOSPC: ['the disk is full', 'free some space; nothing was changed'],
  EDQUOT: ['the disk quota is used up', 'free some space; nothing was changed'],
  ENOTDIR: ['a part of its path is not a directory', 'check the path'],
  EISDIR: ['it is a directory', 'move it away, or name another place'],
};

/** Why a file cannot be written, and what to do. */
export function writeError(path: string, thrown: unknown): SecretError {
  if (thrown instanceof SecretError) return thrown;
  const code = errorCodeOf(thrown) ?? 'unknown error';
  const [cause, hint] = remedies[code] ?? [code, 'check the path'];
  const name = sanitizeUserText(path);
  return new SecretError('NOT_CONFIGURED', `cannot write ${name}: ${cause}`, {
    hint,
    cause: thrown,
  });
}

/**
 * Replaces a file of the host's configuration; see `replaceFile`. It refuses to write where a
 * symbolic link is.
 * @throws SecretError NOT_CONFIGURED
 */
export async function replaceHostFile(
  path: string,
  contents: string | Uint8Array,
  mode: number,
): Promise<void> {
  const unfinished = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  try {
    await refuseLink(path);
    await replaceFile(path, contents, { mode, unfinished });
  } catch (thrown) {
    throw writeError(path, thrown);
  }
}

/**
 * Makes a directory that only its owner can change, and its parents.
 * @returns whether it was made
 * @throws SecretError NOT_CONFIGURED also if it is a link or not a directory, or if the mode of the
 *   present one gives others more than `mode` does
 */
export async function makeDirectory(path: string, mode: number): Promise<boolean> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await mkdir(path, { mode });
    return true;
  } catch (thrown) {
    if (errorCodeOf(thrown) !== 'EEXIST') throw writeError(path, thrown);
  }
  const found = await lstat(path);
  const name = sanitizeUserText(path);
  if (found.isSymbolicLink() || !found.isDirectory())
    throw new SecretError('NOT_CONFIGURED', `${name} is not a directory of its own`, {
      hint: 'move away what is there, and call the command again',
    });
  const excess = found.mode & 0o077 & ~mode;
  if (excess !== 0)
    throw new SecretError('NOT_CONFIGURED', `others have rights to the directory ${name}`, {
      hint: `chmod ${mode.toString(8)} ${name}, and check what is in it`,
    });
  return false;
}

async function refuseLink(path: string): Promise<void> {
  try {
    if (!(await lstat(path)).isSymbolicLink()) return;
  } catch (thrown) {
    if (errorCodeOf(thrown) === 'ENOENT') return;
    throw thrown;
  }
  throw new SecretError('NOT_CONFIGURED', `${sanitizeUserText(path)} is a symbolic link`, {
    hint: 'remove the link; the command makes a file there',
  });
}
