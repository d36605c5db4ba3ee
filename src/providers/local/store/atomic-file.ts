import { type BigIntStats, constants } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SecretError } from '../../../core/errors.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';

/** A file of the local store, as messages call it. */
export type StoreFile = {
  readonly label: 'local store' | 'key of the local store';
  readonly path: string;
};

/** `local store /var/lib/keyferry/local.age` */
export function describeFile(file: StoreFile): string {
  return `${file.label} ${sanitizeExternalText(file.path)}`;
}

const errorCauses: Readonly<Record<string, { readonly cause: string; readonly hint?: string }>> = {
  ENOENT: {
    cause: 'it does not exist',
    hint: '`keyferry local init` makes it, --store and --key name another place',
  },
  ENOTDIR: { cause: 'a part of its path is not a directory' },
  EISDIR: { cause: 'it is a directory' },
  EACCES: {
    cause: 'permission denied',
    hint: 'run as its owner, or name another place with --store and --key',
  },
  EPERM: {
    cause: 'permission denied',
    hint: 'run as its owner, or name another place with --store and --key',
  },
  EROFS: { cause: 'its file system is read-only' },
  ENOSPC: { cause: 'the disk is full', hint: 'free some space; nothing was changed' },
  EDQUOT: { cause: 'the disk quota is used up', hint: 'free some space; nothing was changed' },
};

/** A failure of the file system as LOCAL_STORE_UNREADABLE; a SecretError passes unchanged. */
export function fileError(action: 'read' | 'write', file: StoreFile, thrown: unknown): SecretError {
  if (thrown instanceof SecretError) return thrown;
  const code = systemErrorCode(thrown) ?? 'unknown failure';
  const { cause, hint } = errorCauses[code] ?? { cause: code };
  return new SecretError(
    'LOCAL_STORE_UNREADABLE',
    `cannot ${action} the ${describeFile(file)}: ${cause}`,
    {
      ...(hint === undefined ? {} : { hint }),
      cause: thrown,
    },
  );
}

/** `ENOENT` and its like, where the operating system said so. */
export function systemErrorCode(thrown: unknown): string | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return undefined;
  return typeof thrown.code === 'string' ? thrown.code : undefined;
}

/**
 * The bytes of a regular file of at most `limit` bytes. A directory, a pipe (which would block) or a device is refused.
 * @throws SecretError LOCAL_STORE_UNREADABLE
 */
export async function readRegularFile(file: StoreFile, limit: number): Promise<Buffer> {
  try {
    const handle = await open(file.path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { size } = requireRegularFile(file, await handle.stat({ bigint: true }));
      if (size > limit) throw tooLargeError(file, limit);
      // One byte more than it may have: a file that grows meanwhile is still refused.
      const buffer = Buffer.alloc(Number(size) + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length);
        length += bytesRead;
        if (length === buffer.length)
          throw unreadableError(file, 'it was written to while it was read');
        if (bytesRead === 0) return buffer.subarray(0, length);
      }
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    throw fileError('read', file, thrown);
  }
}

/**
 * Puts `contents` in the place of a file, whole or not at all, mode 0600: whatever happens, a reader finds the old file or the
 * new one. The caller holds the write lock, so that the temporary name beside it is its own.
 * @throws SecretError LOCAL_STORE_UNREADABLE
 */
export async function writeFileAtomically(file: StoreFile, contents: Uint8Array): Promise<void> {
  const temporaryPath = `${file.path}.tmp`;
  try {
    // What a killed writer left behind could be a link or have another mode.
    await rm(temporaryPath, { force: true });
    const handle = await open(temporaryPath, 'wx', 0o600);
    try {
      await handle.writeFile(contents);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporaryPath, file.path);
    await syncDirectory(dirname(file.path));
  } catch (thrown) {
    await rm(temporaryPath, { force: true }).catch(() => undefined);
    throw fileError('write', file, thrown);
  }
}

/** What tells a file's state from the next: device, inode, times and size. `mode` and `mtimeMs` for whom they concern. */
export async function fileState(
  file: StoreFile,
): Promise<{ readonly id: string; readonly mtimeMs: number; readonly mode: number }> {
  try {
    const stats = requireRegularFile(file, await stat(file.path, { bigint: true }));
    const id = [stats.dev, stats.ino, stats.mtimeNs, stats.ctimeNs, stats.size].join(':');
    return { id, mtimeMs: Number(stats.mtimeMs), mode: Number(stats.mode) & 0o777 };
  } catch (thrown) {
    throw fileError('read', file, thrown);
  }
}

function requireRegularFile(file: StoreFile, stats: BigIntStats): BigIntStats {
  if (stats.isDirectory()) throw unreadableError(file, 'it is a directory');
  if (!stats.isFile()) throw unreadableError(file, 'it is no regular file');
  return stats;
}

function unreadableError(file: StoreFile, cause: string): SecretError {
  return new SecretError(
    'LOCAL_STORE_UNREADABLE',
    `cannot read the ${describeFile(file)}: ${cause}`,
  );
}

function tooLargeError(file: StoreFile, limit: number): SecretError {
  return unreadableError(file, `it is larger than ${limit / 1024} KiB`);
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
