import { type BigIntStats, constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { SecretError, errorCodeOf } from '../../../core/errors.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import { replaceFile } from '../../../files/replace-file.ts';

/** A file of the local store, with its name for messages. */
export type StoreFile = {
  readonly label: 'local store' | 'key of the local store';
  readonly path: string;
};

/** `local store /var/lib/keyferry/local.age` */
export function describeFile(file: StoreFile): string {
  return `${file.label} ${sanitizeUserText(file.path)}`;
}

const errorCauses: Readonly<Record<string, { readonly cause: string; readonly hint?: string }>> = {
  ENOENT: {
    cause: 'it does not exist',
    hint: '`keyferry local init` makes it; --store and --key name another place',
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

/**
 * Converts an error of the file system to LOCAL_STORE_UNREADABLE. Returns a SecretError unchanged.
 */
export function fileError(action: 'read' | 'write', file: StoreFile, thrown: unknown): SecretError {
  if (thrown instanceof SecretError) return thrown;
  const code = errorCodeOf(thrown) ?? 'unknown failure';
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

/**
 * Reads a regular file. Rejects a directory, a device, and a pipe, which would block.
 * @param limit the maximum size, in bytes
 * @throws SecretError LOCAL_STORE_UNREADABLE
 */
export async function readRegularFile(file: StoreFile, limit: number): Promise<Buffer> {
  try {
    const handle = await open(file.path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { size } = requireRegularFile(file, await handle.stat({ bigint: true }));
      if (size > limit) throw tooLargeError(file, limit);
      // One more byte than the file has, to detect that it grows during the read.
      const buffer = Buffer.alloc(Number(size) + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length);
        length += bytesRead;
        if (length === buffer.length)
          throw unreadableError(file, 'another process wrote it during the read');
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
 * Replaces a file with `contents`, mode 0600. At every moment, a reader finds the complete old file
 * or the complete new one. The caller holds the write lock, so no other writer uses the temporary
 * file.
 * @throws SecretError LOCAL_STORE_UNREADABLE
 */
export async function writeFileAtomically(file: StoreFile, contents: Uint8Array): Promise<void> {
  try {
    await replaceFile(file.path, contents, { mode: 0o600, unfinished: `${file.path}.tmp` });
  } catch (thrown) {
    throw fileError('write', file, thrown);
  }
}

/**
 * Returns the state of a file.
 * @returns `id`: device, inode, times and size, which differ between two states; `mode`: permission
 *   bits
 */
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
  if (!stats.isFile()) throw unreadableError(file, 'it is not a regular file');
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
