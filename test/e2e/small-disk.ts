import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A separate file system at a directory. */
export type SmallDisk = {
  /** Fills the disk completely. */
  fill(): Promise<void>;
  /** Frees the space again. */
  free(): Promise<void>;
  setReadOnly(readOnly: boolean): Promise<void>;
  unmount(): Promise<void>;
};

/** Whether this process may mount file systems. */
export async function canMount(directory: string): Promise<boolean> {
  const disk = await mountSmallDisk(join(directory, 'try')).catch(() => undefined);
  await disk?.unmount();
  return disk !== undefined;
}

/** A disk of 256 KiB in memory. */
export async function mountSmallDisk(directory: string): Promise<SmallDisk> {
  await mkdir(directory, { recursive: true });
  await run('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'none', directory]);
  const fillerFile = join(directory, 'ballast');
  return {
    async fill() {
      await writeFile(fillerFile, Buffer.alloc(1024 * 1024)).catch(() => undefined);
    },
    free: () => rm(fillerFile),
    async setReadOnly(readOnly) {
      await run('mount', ['-o', `remount,${readOnly ? 'ro' : 'rw'}`, directory]);
    },
    async unmount() {
      await run('umount', ['--lazy', directory]);
    },
  };
}
