import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Replaces a file. At every moment a reader finds the whole old file or the whole new one, also
 * after a power failure. The new one has its mode from the beginning. A link at `path` is replaced.
 * @param options.owner default: the user of this process
 * @param options.unfinished the path of the new file until it is complete, in the same directory;
 *   what is there is removed
 * @throws Error of the file system
 */
export async function replaceFile(
  path: string,
  contents: string | Uint8Array,
  {
    mode,
    owner,
    unfinished,
  }: {
    readonly mode: number;
    readonly owner?: { readonly uid: number; readonly gid: number };
    readonly unfinished: string;
  },
): Promise<void> {
  try {
    // A file of a killed writer can be a link, or have another mode.
    await rm(unfinished, { force: true });
    const handle = await open(unfinished, 'wx', mode);
    try {
      if (owner !== undefined) await handle.chown(owner.uid, owner.gid);
      // `open` applies the umask.
      await handle.chmod(mode);
      await handle.writeFile(contents);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(unfinished, path);
    await syncDirectory(dirname(path));
  } catch (thrown) {
    await rm(unfinished, { force: true }).catch(() => undefined);
    throw thrown;
  }
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
