import { hash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SecretError, errorCodeOf, fileProblemOf } from '../core/errors.ts';

const keyFile = '.keyferry-version-key';
const keyLength = 32;

/** Shorter keys could be guessed. */
const minSharedKeyLength = 16;

/**
 * The key of a cluster, for the versions that Keyferry computes for stores without versions. With
 * one key, all nodes compute the same version for the same content. So a tool that restarts
 * workloads when a version changes does not restart them once for each node.
 * @param path a file with at least 16 bytes, such as a mounted Secret
 * @throws SecretError NOT_CONFIGURED if the file cannot be read or is too short
 */
export async function readSharedVersionKey(path: string): Promise<Uint8Array> {
  const content = await readFile(path).catch((cause: unknown) => {
    throw new SecretError(
      'NOT_CONFIGURED',
      `--version-key-file ${path} cannot be read: ${fileProblemOf(cause)}`,
      {
        hint: 'give a file that this process can read, or leave the flag out for a key of each node',
        cause,
      },
    );
  });
  if (content.length >= minSharedKeyLength) return hash('sha256', content, 'buffer');
  throw new SecretError(
    'NOT_CONFIGURED',
    `--version-key-file ${path} has ${content.length} bytes, at least ${minSharedKeyLength} are needed`,
    { hint: 'write random bytes into it: openssl rand -hex 32' },
  );
}

/**
 * The key of a node, for the same versions: 32 bytes in a file of mode 0600 in the providers
 * directory. The file is created once, so that neither a restart nor a second process changes a
 * version.
 * @throws SecretError NOT_CONFIGURED if the file cannot be read or created, other users can read
 * it, or its content is not a key
 */
export async function loadVersionKey(providersDir: string): Promise<Uint8Array> {
  const path = join(providersDir, keyFile);
  try {
    await mkdir(providersDir, { recursive: true });
    return (await readKey(path)) ?? (await createKey(path));
  } catch (thrown) {
    if (thrown instanceof SecretError) throw thrown;
    const code = errorCodeOf(thrown) ?? 'unknown error';
    throw new SecretError(
      'NOT_CONFIGURED',
      `the version key ${path} cannot be read or created: ${code}`,
      {
        hint: '--providers-dir must name a directory that Keyferry can write to',
        cause: thrown,
      },
    );
  }
}

async function readKey(path: string): Promise<Uint8Array | undefined> {
  // A symbolic link could lead to a file that another user can write.
  const file = await open(
    path,
    constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
  ).catch((thrown: unknown) => {
    if (errorCodeOf(thrown) === 'ENOENT') return undefined;
    throw thrown;
  });
  if (file === undefined) return undefined;
  try {
    const stats = await file.stat();
    if (!stats.isFile() || stats.size !== keyLength)
      throw keyFileError(path, `is not a file of ${keyLength} bytes`, 'remove it');
    if ((stats.mode & 0o077) !== 0)
      throw keyFileError(
        path,
        'is accessible to users other than its owner',
        'remove it, or set its mode to 0600',
      );
    return await file.readFile();
  } finally {
    await file.close();
  }
}

/**
 * Writes the file under another name and then links it. Of two processes one wins, and both read
 * the winner's key.
 */
async function createKey(path: string): Promise<Uint8Array> {
  const temporary = `${path}.${randomBytes(8).toString('hex')}`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(randomBytes(keyLength));
      await file.sync();
    } finally {
      await file.close();
    }
    await link(temporary, path).catch((thrown: unknown) => {
      if (errorCodeOf(thrown) !== 'EEXIST') throw thrown;
    });
  } finally {
    await rm(temporary, { force: true });
  }
  const key = await readKey(path);
  if (key !== undefined) return key;
  throw keyFileError(
    path,
    'disappeared right after it was created',
    'check what else writes to that directory',
  );
}

function keyFileError(path: string, problem: string, remedy: string): SecretError {
  return new SecretError('NOT_CONFIGURED', `the version key ${path} ${problem}`, {
    hint: `${remedy}; a new key changes once the versions of secrets whose store has none`,
  });
}
