import { createHash, randomBytes } from 'node:crypto';
import { readFile, readdir, readlink, stat, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SecretError, errorCodeOf } from '../core/errors.ts';
import { sanitizeUserText } from '../core/safe-text.ts';

/** A lock file of another host counts for this time: its process cannot be checked from here. */
const foreignLockMaxAgeMs = 60_000;
/** After half of that time, the holder of a lock must not write any more. */
const maxHoldMs = foreignLockMaxAgeMs / 2;

/** What a {@link WriteLock} keeps writers of apart. */
export type Locked = {
  /** The lock files stand beside it. It is absolute and has no symbolic links. */
  readonly path: string;
  /** For messages, such as `local store /var/lib/keyferry/store.age`. */
  readonly description: string;
  /** Makes an error of the file system one of the caller's. */
  readonly toError: (thrown: unknown) => SecretError;
};

/**
 * Keeps writers of one file or directory apart, in this process and in others.
 *
 * Each writer creates a lock file of its own beside it. The name holds the process. Then the
 * writer lists the lock files. It holds the lock if it finds no other active one. Otherwise it
 * removes its lock file and tries again. Of two writers, the one that lists later sees both lock
 * files, so two writers never hold the lock together. A writer never takes over the lock file of
 * another one, which is the usual mistake of locks made of a single file. A lock file is inactive
 * when the kernel reports that its process is gone.
 */
export class WriteLock {
  readonly #locked: Locked;
  readonly #directory: string;
  readonly #prefix: string;
  readonly #waitMs: number;
  readonly #now: () => number;

  /**
   * @param options.waitMs how long `run` waits for the lock, in ms; default 10 s
   * @param options.now milliseconds since the epoch; default Date.now
   */
  constructor(
    locked: Locked,
    {
      waitMs = 10_000,
      now = Date.now,
    }: { readonly waitMs?: number; readonly now?: () => number } = {},
  ) {
    this.#locked = locked;
    this.#directory = dirname(locked.path);
    this.#prefix = `${basename(locked.path)}.claim-`;
    this.#waitMs = waitMs;
    this.#now = now;
  }

  /**
   * Waits for the lock and runs `work` alone. Before it writes, `work` calls `assertHeld`, which
   * throws when the work took so long that another writer could hold the lock.
   * @throws SecretError STORE_TIMEOUT if the lock is not free in time, what `toError` makes, and
   *   what `work` throws
   */
  async run<T>(work: (assertHeld: () => void) => Promise<T>): Promise<T> {
    const ownLockFile = await this.#lock();
    const acquiredAt = this.#now();
    const assertHeld = (): void => {
      if (this.#now() - acquiredAt > maxHoldMs)
        throw new SecretError(
          'STORE_TIMEOUT',
          `writing the ${this.#locked.description} took too long; nothing was changed`,
        );
    };
    try {
      return await work(assertHeld);
    } finally {
      await unlink(join(this.#directory, ownLockFile)).catch(() => undefined);
    }
  }

  async #lock(): Promise<string> {
    const deadline = this.#now() + this.#waitMs;
    try {
      for (;;) {
        const ownLockFile = await this.#tryLock();
        if (ownLockFile !== undefined) return ownLockFile;
        if (this.#now() > deadline) throw this.#timeoutError(await this.#findOtherLocks());
        await sleep(5 + Math.random() * 20);
      }
    } catch (thrown) {
      throw thrown instanceof SecretError ? thrown : this.#locked.toError(thrown);
    }
  }

  async #tryLock(): Promise<string | undefined> {
    if ((await this.#findOtherLocks()).length > 0) return undefined;
    const startTime = (await processStartTime(process.pid)) ?? '';
    const nonce = randomBytes(4).toString('hex');
    const holder = [await currentHostId(), process.pid, startTime, nonce].join('-');
    const ownLockFile = `${this.#prefix}${holder}`;
    const path = join(this.#directory, ownLockFile);
    await writeFile(path, '', { flag: 'wx', mode: 0o600 });
    if ((await this.#findOtherLocks(ownLockFile)).length === 0) return ownLockFile;
    await unlink(path);
    return undefined;
  }

  /** The active lock files of other writers. Removes the inactive ones. */
  async #findOtherLocks(ownLockFile?: string): Promise<readonly string[]> {
    const lockFiles = (await readdir(this.#directory)).filter(
      (name) => name.startsWith(this.#prefix) && name !== ownLockFile,
    );
    const ownHostId = await currentHostId();
    const activeLocks: string[] = [];
    for (const lockFile of lockFiles) {
      if (await this.#isActive(lockFile, ownHostId)) activeLocks.push(lockFile);
      // No two lock files have the same name, so this cannot remove a newer one.
      else await unlink(join(this.#directory, lockFile)).catch(() => undefined);
    }
    return activeLocks;
  }

  async #isActive(lockFile: string, ownHostId: string): Promise<boolean> {
    const [hostId, pid, startTime] = lockFile.slice(this.#prefix.length).split('-');
    if (hostId === ownHostId) return isProcessRunning(Number(pid), startTime ?? '');
    // A lock of another container or machine. Only its age is known.
    const stats = await stat(join(this.#directory, lockFile)).catch(() => undefined);
    return stats !== undefined && this.#now() - stats.mtimeMs < foreignLockMaxAgeMs;
  }

  #timeoutError([lockFile]: readonly string[]): SecretError {
    const { description } = this.#locked;
    return new SecretError('STORE_TIMEOUT', `another process is writing the ${description}`, {
      hint:
        lockFile === undefined
          ? 'try again'
          : `try again; if no such process runs, remove ${sanitizeUserText(join(this.#directory, lockFile))}`,
    });
  }
}

async function isProcessRunning(pid: number, startTime: string): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (thrown) {
    if (errorCodeOf(thrown) === 'ESRCH') return false;
  }
  // Another process can have the number now. Without a start time, this assumes the same process.
  const currentStartTime = await processStartTime(pid);
  return currentStartTime === undefined || startTime === '' || currentStartTime === startTime;
}

/**
 * The start time of a process, in clock ticks after boot: proc(5), field 22 of /proc/PID/stat.
 * Undefined without /proc.
 */
async function processStartTime(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined);
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[19];
}

/**
 * Equal where process numbers mean the same processes: one boot of a machine, one pid namespace.
 */
async function currentHostId(): Promise<string> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'latin1').catch(() => hostname());
  const namespace = await readlink('/proc/self/ns/pid').catch(() => '');
  return createHash('sha256').update(`${boot}${namespace}`).digest('hex').slice(0, 12);
}
