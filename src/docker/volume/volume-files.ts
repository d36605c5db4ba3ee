import {
  chmod,
  link,
  lstat,
  mkdir,
  readdir,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { SecretError, errorCodeOf } from '../../core/errors.ts';
import { type WrittenFile, writeVolume } from '../../mount/volume-writer.ts';

/** The programs of an image that the shim stands for, so that `docker exec` sees the variables. */
const shadowed = ['env', 'printenv', 'sh', 'bash', 'ash', 'dash', 'zsh'];
const shimName = 'dso-shim';

/**
 * Writes the volume that a container mounts at `/run/dso`: the shim and the file of the variables.
 * The shim reads that file when it starts a program, so it is replaced by a rename.
 * @param options.shim the copy that {@link installShim} has made
 * @param options.exec whether `docker exec` sees the variables
 * @throws SecretError NOT_CONFIGURED if the file system is full or fails
 */
export async function writeVariablesVolume(
  directory: string,
  {
    env,
    exec,
    shim,
  }: { readonly env: Uint8Array; readonly exec: 'on' | 'off'; readonly shim: string },
): Promise<void> {
  try {
    await makeReadable(directory);
    const bin = join(directory, 'bin');
    await makeReadable(bin);
    await linkShim(shim, bin);
    const names = exec === 'on' ? shadowed : [];
    for (const name of names) await symlink(shimName, join(bin, name)).catch(ignoreExisting);
    for (const name of await readdir(bin))
      if (name !== shimName && !names.includes(name)) await rm(join(bin, name), { force: true });
    const temporary = join(directory, '.env');
    await rm(temporary, { force: true });
    await writeFile(temporary, env, { flag: 'wx', mode: 0o400 });
    await chmod(temporary, 0o444);
    await rename(temporary, join(directory, 'env'));
  } catch (thrown) {
    throw cannotWrite(thrown);
  }
}

/**
 * Writes the volume that a container mounts at `/run/secrets/dso`: a reader sees all old files or
 * all new ones.
 * @throws SecretError
 */
export async function writeFilesVolume(
  directory: string,
  files: readonly WrittenFile[],
): Promise<void> {
  try {
    await makeReadable(directory);
    await writeVolume(directory, { files }, { always: true });
  } catch (thrown) {
    throw cannotWrite(thrown);
  }
}

/** Every user of the container reads it. On the host, only root enters the directory above. */
async function makeReadable(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  // `mkdir` applies the umask.
  await chmod(directory, 0o755);
}

async function linkShim(shim: string, bin: string): Promise<void> {
  const path = join(bin, shimName);
  const [wanted, found] = await Promise.all([lstat(shim), lstat(path).catch(() => undefined)]);
  // A rename of one link onto another of the same file would do nothing.
  if (wanted.ino === found?.ino) return;
  const temporary = join(bin, '.shim');
  await rm(temporary, { force: true });
  await link(shim, temporary);
  await rename(temporary, path);
}

function ignoreExisting(thrown: unknown): void {
  if (errorCodeOf(thrown) !== 'EEXIST') throw thrown;
}

const remedies: Readonly<Record<string, string>> = {
  ENOSPC: 'stop containers with large secrets, or make the tmpfs larger: mount -o remount,size=..',
  EPERM:
    'only root can give files away: run the agent as root, or leave uid and gid out of dso.yaml',
};

function cannotWrite(cause: unknown): SecretError {
  if (cause instanceof SecretError) return cause;
  const code = errorCodeOf(cause) ?? 'unknown error';
  return new SecretError('NOT_CONFIGURED', `the secrets cannot be written to the volume: ${code}`, {
    hint: remedies[code] ?? 'check the tmpfs of the volumes',
    cause,
  });
}
