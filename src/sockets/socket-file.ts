import { randomInt } from 'node:crypto';
import { linkSync, lstatSync, renameSync, unlinkSync, type BigIntStats } from 'node:fs';
import { chmod, chown, link, lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { SecretError, errorCodeOf } from '../core/errors.ts';

/** The longest path that fits into a unix socket address (`sun_path`), without its final zero. */
const maxPathBytes = 107;

const temporaryPattern = /^\.kf[0-9a-z]{3}$/;
const leftoverAgeMs = 60_000;

/** A listening socket with the inode of its file. */
export type BoundSocket = { readonly path: string; readonly server: Server; readonly inode: Inode };

/** Identifies a file. */
type Inode = Pick<BigIntStats, 'dev' | 'ino'>;

/**
 * @param flag the setting that has the path, or its directory
 * @throws SecretError NOT_CONFIGURED if the path is too long for a socket
 */
export function checkSocketPath(path: string, flag: string): void {
  const bytes = Math.max(
    Buffer.byteLength(path),
    Buffer.byteLength(join(temporaryName(path), 's')),
  );
  if (bytes <= maxPathBytes) return;
  throw new SecretError(
    'NOT_CONFIGURED',
    `the path ${path} takes ${bytes} bytes, and the limit for a unix socket is ${maxPathBytes}`,
    { hint: `choose a shorter ${flag}` },
  );
}

/** Options of {@link bindSocket}. */
export type BindOptions = {
  /** Replaces the file at the path without a gap. */
  readonly replace: boolean;
  readonly onConnection: (socket: Socket) => void;
  /** Permission bits. Default 0600. */
  readonly mode?: number;
  /** The number of its group. Default: that of this process. */
  readonly gid?: number | undefined;
};

/**
 * Listens at `path`. The socket has its mode from the start: it is bound in a folder that only this
 * user may enter, and then moved.
 * @returns undefined if there is a file at the path and `replace` is false
 * @throws Error of the file system
 */
export async function bindSocket(
  path: string,
  { replace, onConnection, mode = 0o600, gid }: BindOptions,
): Promise<BoundSocket | undefined> {
  const folder = temporaryName(path);
  await mkdir(folder, { mode: 0o700 });
  // HTTP/2 ends our side, after its last frame, and not the client's half-close.
  const server = createServer({ allowHalfOpen: true }, onConnection);
  try {
    const bound = join(folder, 's');
    await listen(server, bound);
    if (gid !== undefined) await chown(bound, -1, gid);
    await chmod(bound, mode);
    const inode = await lstat(bound, { bigint: true });
    if (replace) await rename(bound, path);
    else await link(bound, path);
    return { path, server, inode };
  } catch (error) {
    // close() unlinks only the temporary name, which no other socket has.
    server.close();
    if (!replace && errorCodeOf(error) === 'EEXIST') return undefined;
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Whether the path leads to this socket, to another file, or to nothing. */
export function ownerOf({ path, inode }: BoundSocket): 'ours' | 'foreign' | 'none' {
  const found = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (found === undefined) return 'none';
  return found.ino === inode.ino && found.dev === inode.dev ? 'ours' : 'foreign';
}

/**
 * A socket that a dead process has left. Another file may soon get the same inode number, so
 * `ctimeNs` is compared too.
 */
export type DeadSocket = Pick<BigIntStats, 'dev' | 'ino' | 'ctimeNs'>;

/** The socket at the path, if there is one and no process listens on it. */
export async function deadSocketAt(path: string): Promise<DeadSocket | undefined> {
  const found = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return found?.isSocket() === true && (await refusesConnections(path)) ? found : undefined;
}

/**
 * Removes this socket, if it is still there. If a process replaces it between the check and the
 * removal, for example one that has just started, its socket is put back.
 * @throws Error of the file system
 */
export function removeDeadSocket(path: string, dead: DeadSocket): void {
  const found = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (found === undefined || !isSame(found, dead)) return;
  const aside = temporaryName(path);
  renameSync(path, aside);
  try {
    const { dev, ino } = lstatSync(aside, { bigint: true });
    if (dev !== dead.dev || ino !== dead.ino) linkSync(aside, path);
  } catch (error) {
    // That process has bound its socket again in the meantime.
    if (errorCodeOf(error) !== 'EEXIST') throw error;
  } finally {
    unlinkSync(aside);
  }
}

/** Whether both are the same file, unchanged in between. */
export function isSame(one: DeadSocket, other: DeadSocket): boolean {
  return one.dev === other.dev && one.ino === other.ino && one.ctimeNs === other.ctimeNs;
}

/** Whether no process listens. Another error than ECONNREFUSED does not show that. */
function refusesConnections(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const finish = (refused: boolean): void => {
      resolve(refused);
      socket.destroy();
    };
    socket
      .once('connect', () => finish(false))
      .once('error', (error) => finish(errorCodeOf(error) === 'ECONNREFUSED'));
  });
}

/**
 * Removes the path, if it still leads to this socket, and stops listening. Open connections stay.
 * @returns whose socket the path led to
 * @throws Error of the file system if the path cannot be removed
 */
export function unbindSocket(socket: BoundSocket): ReturnType<typeof ownerOf> {
  try {
    const owner = ownerOf(socket);
    // Synchronous, so that another process can hardly bind the path between the check and the
    // removal. If one does, it binds its socket again.
    if (owner === 'ours') unlinkSync(socket.path);
    return owner;
  } finally {
    socket.server.close();
  }
}

/** Removes the folders of processes that crashed while they bound a socket. */
export async function removeLeftovers(folder: string, now = Date.now()): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (!temporaryPattern.test(name)) continue;
    const stats = await lstat(path).catch(() => undefined);
    if (stats !== undefined && now - stats.ctimeMs > leftoverAgeMs)
      await rm(path, { recursive: true, force: true });
  }
}

/**
 * With the socket in it as long as `cce.sock`: where the socket's own path fits, so does this one.
 */
function temporaryName(path: string): string {
  return join(
    dirname(path),
    `.kf${randomInt(36 ** 3)
      .toString(36)
      .padStart(3, '0')}`,
  );
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
