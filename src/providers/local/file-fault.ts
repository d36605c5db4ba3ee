import { SecretError } from '../../errors/secret-error.ts';
import { quoteForeign } from '../../errors/status-text.ts';

/** A file of the local store, as messages call it. */
export type NamedFile = { readonly what: 'local store' | 'key of the local store'; readonly path: string };

/** `local store /var/lib/keyferry/local.age` */
export function describeFile(file: NamedFile): string {
  return `${file.what} ${quoteForeign(file.path)}`;
}

const causes: Readonly<Record<string, { readonly cause: string; readonly hint?: string }>> = {
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
export function fileFault(action: 'read' | 'write', file: NamedFile, thrown: unknown): SecretError {
  if (thrown instanceof SecretError) return thrown;
  const code = systemCode(thrown) ?? 'unknown failure';
  const { cause, hint } = causes[code] ?? { cause: code };
  return new SecretError('LOCAL_STORE_UNREADABLE', `cannot ${action} the ${describeFile(file)}: ${cause}`, {
    ...(hint === undefined ? {} : { hint }),
    cause: thrown,
  });
}

/** `ENOENT` and its like, where the operating system said so. */
export function systemCode(thrown: unknown): string | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return undefined;
  return typeof thrown.code === 'string' ? thrown.code : undefined;
}
