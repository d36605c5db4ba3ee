import { execFile } from 'node:child_process';
import { chmod, mkdir, readFile, realpath } from 'node:fs/promises';
import type { Logger } from 'pino';
import { SecretError, errorCodeOf } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { isInMemory, mountOf } from './mount-table.ts';

/** Runs a program. @throws Error with its standard error */
export type RunProgram = (program: string, args: readonly string[]) => Promise<void>;

/** Options of {@link prepareTmpfs}. */
export type TmpfsOptions = {
  readonly log: Logger;
  /** Whether this process may mount. Default: whether it is root. */
  readonly isRoot?: boolean;
  readonly run?: RunProgram;
};

/**
 * Makes the directory a tmpfs, which never reaches a disk: mounts one, without swap if the kernel
 * can do that. A directory that is the root of a tmpfs already stays as it is. Without the right to
 * mount, a directory within a tmpfs serves too.
 * @throws SecretError NOT_CONFIGURED if what is written there would reach a disk
 */
export async function prepareTmpfs(
  directory: string,
  { log, isRoot = process.getuid?.() === 0, run = runProgram }: TmpfsOptions,
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
    try {
      await run('mount', ['-t', 'tmpfs', '-o', options, 'dso', directory]);
      return undefined;
    } catch (thrown) {
      problem = thrown instanceof Error ? sanitizeUserText(thrown.message.trim()) : 'unknown error';
    }
  }
  return problem;
}

/** The options of the mount whose root the directory is; undefined if it is no mount point. */
async function mountOptionsOf(directory: string): Promise<readonly string[] | undefined> {
  const path = await realpath(directory);
  const mount = mountOf(path, await readFile('/proc/self/mountinfo', 'utf8'));
  return mount?.point === path ? mount.options : undefined;
}

function runProgram(program: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(program, [...args], { timeout: 10_000 }, (error, _, stderr) => {
      if (error === null) resolve();
      else reject(new Error(stderr.trim() || `${program}: ${errorCodeOf(error) ?? error.message}`));
    });
  });
}
