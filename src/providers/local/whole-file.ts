import { constants, type BigIntStats } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SecretError } from '../../errors/secret-error.ts';
import { describeFile, fileFault, type NamedFile } from './file-fault.ts';

/**
 * The bytes of a regular file of at most `limit` bytes. A directory, a pipe (which would block) or a device is refused.
 * @throws SecretError LOCAL_STORE_UNREADABLE
 */
export async function readWhole(file: NamedFile, limit: number): Promise<Buffer> {
  try {
    const handle = await open(file.path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { size } = regular(file, await handle.stat({ bigint: true }));
      if (size > limit) throw tooLarge(file, limit);
      // One byte more than it may have: a file that grows meanwhile is still refused.
      const buffer = Buffer.alloc(Number(size) + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length);
        length += bytesRead;
        if (length === buffer.length) throw unreadable(file, 'it was written to while it was read');
        if (bytesRead === 0) return buffer.subarray(0, length);
      }
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    throw fileFault('read', file, thrown);
  }
}

/**
 * Puts `contents` in the place of a file, whole or not at all, mode 0600: whatever happens, a reader finds the old file or the
 * new one. The caller holds the write lock, so that the temporary name beside it is its own.
 * @throws SecretError LOCAL_STORE_UNREADABLE
 */
export async function replaceWhole(file: NamedFile, contents: Uint8Array): Promise<void> {
  const temporary = `${file.path}.tmp`;
  try {
    // What a killed writer left behind could be a link or have another mode.
    await rm(temporary, { force: true });
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(contents);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file.path);
    await syncDirectory(dirname(file.path));
  } catch (thrown) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw fileFault('write', file, thrown);
  }
}

/** What tells a file's state from the next: device, inode, times and size. `mode` and `mtimeMs` for whom they concern. */
export async function fileState(
  file: NamedFile,
): Promise<{ readonly id: string; readonly mtimeMs: number; readonly mode: number }> {
  try {
    const stats = regular(file, await stat(file.path, { bigint: true }));
    const id = [stats.dev, stats.ino, stats.mtimeNs, stats.ctimeNs, stats.size].join(':');
    return { id, mtimeMs: Number(stats.mtimeMs), mode: Number(stats.mode) & 0o777 };
  } catch (thrown) {
    throw fileFault('read', file, thrown);
  }
}

function regular(file: NamedFile, stats: BigIntStats): BigIntStats {
  if (stats.isDirectory()) throw unreadable(file, 'it is a directory');
  if (!stats.isFile()) throw unreadable(file, 'it is no regular file');
  return stats;
}

function unreadable(file: NamedFile, cause: string): SecretError {
  return new SecretError('LOCAL_STORE_UNREADABLE', `cannot read the ${describeFile(file)}: ${cause}`);
}

function tooLarge(file: NamedFile, limit: number): SecretError {
  return unreadable(file, `it is larger than ${limit / 1024} KiB`);
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
