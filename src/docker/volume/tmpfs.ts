import { chmod, mkdir, readFile, realpath } from 'node:fs/promises';
import type { Logger } from 'pino';
import { SecretError, errorCodeOf } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { RunProgram } from '../run-program.ts';
import { isInMemory, mountOf } from './mount-table.ts';

/** Options of {@link prepareTmpfs}. */
export type TmpfsOptions = {
  readonly log: Logger;
  readonly run: RunProgram;
  /** Whether this process may mount. Default: whether it is root. */
  readonly isRoot?: boolean;
};

/**
 * Makes the directory a tmpfs, which never reaches a disk: mounts one, without swap if the kernel
 * can do that. A directory that is the root of a tmpfs already stays as it is. Without the right to
 * mount, a directory within a tmpfs serves too.
 * @throws SecretError NOT_CONFIGURED if what is written there would reach a disk
 */
export async function prepareTmpfs(
  directory: string,
  { log, run, isRoot = process.getuid?.() === 0 }: TmpfsOptions,
): Promise<void> {
  const shown = sanitizeUserText(directory);
  await mkdir(directory, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    const problem = errorCodeOf(cause) ?? 'unknown error';
    throw new SecretError('NOT_CONFIGURED', `${shown} cannot be made: ${problem}`, {
      hint: 'name a directory that this process can make: --volumes-dir',
      cause,
    });
  });
  let problem = isRoot ? undefined : 'this process is not root, so it cannot mount one';
  let options = await mountOptionsOf(directory);
  if (!(options !== undefined && (await isInMemory(directory))) && isRoot) {
    problem = await mountTmpfs(directory, run);
    options = await mountOptionsOf(directory);
  }
  if (!(await isInMemory(directory)))
    throw new SecretError(
      'NOT_CONFIGURED',
      `${shown} is on a disk, and must be a tmpfs: ${problem ?? 'the mount has no effect'}`,
      {
        hint: 'start the agent as root, or give --volumes-dir a directory on a tmpfs, such as one below /run',
      },
    );
  await chmod(directory, 0o700);
  if (options?.includes('noexec') === true)
    log.warn(
      { directory },
      'the volumes directory is mounted with noexec: containers cannot start from it; mount it with exec',
    );
  if (options?.includes('noswap') !== true)
    log.info(
      { directory },
      'the tmpfs of the volumes can be swapped out: turn swap off, or encrypt it',
    );
}

/** @returns why it could not */
async function mountTmpfs(directory: string, run: RunProgram): Promise<string | undefined> {
  let problem: string | undefined;
  // Kernels before 6.4 refuse noswap.
  for (const options of ['mode=0700,nosuid,nodev,noswap', 'mode=0700,nosuid,nodev']) {
    const { code, stderr } = await run('mount', ['-t', 'tmpfs', '-o', options, 'dso', directory]);
    if (code === 0) return undefined;
    const cause = code === 127 ? 'mount is not installed' : stderr.trim();
    problem = sanitizeUserText(cause || `mount ended with exit code ${code}`);
  }
  return problem;
}

/** The options of the mount whose root the directory is; undefined if it is no mount point. */
async function mountOptionsOf(directory: string): Promise<readonly string[] | undefined> {
  const path = await realpath(directory);
  const mount = mountOf(path, await readFile('/proc/self/mountinfo', 'utf8'));
  return mount?.point === path ? mount.options : undefined;
}
