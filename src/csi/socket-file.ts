import { randomInt } from 'node:crypto';
import { linkSync, lstatSync, renameSync, unlinkSync, type BigIntStats } from 'node:fs';
import { chmod, link, lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { SecretError } from '../core/errors.ts';

/** What fits into a socket address besides its final zero. */
const maxPathBytes = 107;

const temporaryPattern = /^\.kf[0-9a-z]{3}$/;
const leftoverAgeMs = 60_000;

/** A socket that listens, and which inode it is. */
export type BoundSocket = { readonly path: string; readonly server: Server; readonly inode: Inode };

/** The identity of a file. */
type Inode = Pick<BigIntStats, 'dev' | 'ino'>;

/** @throws SecretError NOT_CONFIGURED where a socket could not be bound at so long a path. */
export function checkSocketPath(path: string): void {
  const bytes = Math.max(
    Buffer.byteLength(path),
    Buffer.byteLength(join(temporaryName(path), 's')),
  );
  if (bytes <= maxPathBytes) return;
  throw new SecretError(
    'NOT_CONFIGURED',
    `the path ${path} takes ${bytes} bytes, and a unix socket's at most ${maxPathBytes}`,
    { hint: 'choose a shorter --providers-dir' },
  );
}

/**
 * Listens at `path`, mode 0600 from its first moment: bound in a folder that nobody else may enter, then moved into place.
 * With `replace` it takes the place of whatever is there, without a gap; without, it answers undefined where something is.
 * @throws Error of the file system
 */
export async function bindSocket(
  path: string,
  { replace, onConnection }: { replace: boolean; onConnection: (socket: Socket) => void },
): Promise<BoundSocket | undefined> {
  const folder = temporaryName(path);
  await mkdir(folder, { mode: 0o700 });
  // Our side ends when HTTP/2 has said its last word, not when theirs does.
  const server = createServer({ allowHalfOpen: true }, onConnection);
  try {
    const bound = join(folder, 's');
    await listen(server, bound);
    await chmod(bound, 0o600);
    const inode = await lstat(bound, { bigint: true });
    if (replace) await rename(bound, path);
    else await link(bound, path);
    return { path, server, inode };
  } catch (error) {
    // Closing unlinks only the name it was bound by, which no other socket ever has.
    server.close();
    if (!replace && isCode(error, 'EEXIST')) return undefined;
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Whether its path still leads to this very socket, to another file, or to none. */
export function ownerOf({ path, inode }: BoundSocket): 'ours' | 'foreign' | 'nobody' {
  const found = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (found === undefined) return 'nobody';
  return found.ino === inode.ino && found.dev === inode.dev ? 'ours' : 'foreign';
}

/** A socket that a process has left behind. The number of a file alone can soon be another's. */
export type DeadSocket = Pick<BigIntStats, 'dev' | 'ino' | 'ctimeNs'>;

/** The socket at the path, if that is what is there and nobody listens. */
export async function deadSocketAt(path: string): Promise<DeadSocket | undefined> {
  const found = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return found?.isSocket() === true && (await refusesConnections(path)) ? found : undefined;
}

/**
 * Takes that very socket away, if it is still there. Somebody alive who comes between the look and the deed, as one does who starts anew at
 * that moment, is put back.
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
    // Meanwhile he has bound it again himself.
    if (!isCode(error, 'EEXIST')) throw error;
  } finally {
    unlinkSync(aside);
  }
}

/** Whether they are one file, and nothing has been done to it in between. */
export function isSame(one: DeadSocket, other: DeadSocket): boolean {
  return one.dev === other.dev && one.ino === other.ino && one.ctimeNs === other.ctimeNs;
}

/** Whether nobody would take a connection. What else may keep one from being made tells nothing of that. */
function refusesConnections(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const finish = (refused: boolean): void => {
      resolve(refused);
      socket.destroy();
    };
    socket
      .once('connect', () => finish(false))
      .once('error', (error) => finish(isCode(error, 'ECONNREFUSED')));
  });
}

/**
 * Takes the path away, if it is still ours, and stops listening; whose it was. Connections live on.
 * @throws Error of the file system where the path cannot be taken away
 */
export function unbindSocket(socket: BoundSocket): ReturnType<typeof ownerOf> {
  try {
    const owner = ownerOf(socket);
    // In one go, so that hardly anybody can come between the look and the deed; a successor who does binds again.
    if (owner === 'ours') unlinkSync(socket.path);
    return owner;
  } finally {
    socket.server.close();
  }
}

/** Removes what processes that crashed while binding have left in the folder. */
export async function removeLeftovers(folder: string, now = Date.now()): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (!temporaryPattern.test(name)) continue;
    const stats = await lstat(path).catch(() => undefined);
    if (stats !== undefined && now - stats.ctimeMs > leftoverAgeMs)
      await rm(path, { recursive: true, force: true });
  }
}

/** As long as `cce.sock` with what goes into it, so that a path that fits has room for its beginnings. */
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

function isCode(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === code;
}
