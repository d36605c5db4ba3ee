import { createHash, randomBytes } from 'node:crypto';
import { readFile, readdir, readlink, stat, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SecretError } from '../../../core/errors.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import { type StoreFile, describeFile, fileError, systemErrorCode } from './atomic-file.ts';

/** A claim from where no process can be asked for is taken for dead at this age, in ms. */
const foreignLockMaxAgeMs = 60_000;
/** Its holder, wherever it is, writes nothing after half of that. */
const maxHoldMs = foreignLockMaxAgeMs / 2;

/** Keeps writers of one file apart, in this process and in others. See {@link createWriteLock}. */
export type WriteLock = {
  /**
   * Waits for its turn and runs `work` alone. Before it writes, the work calls `stillHeld`, which throws when it took so
   * long that another could have taken its turn.
   * @throws SecretError STORE_TIMEOUT after 10 s of waiting, LOCAL_STORE_UNREADABLE, and what `work` throws
   */
  run<T>(work: (assertHeld: () => void) => Promise<T>): Promise<T>;
};

/**
 * A lock for a file, whose path is absolute and without links. Each writer puts a claim of its own beside the file, an empty file named for its
 * process, then looks around: it holds the lock if there is no other living claim, and else withdraws and tries again. Of two
 * writers the later one to look sees both claims, so never do two hold it; and nobody ever takes over what was another's, which is
 * where locks made of one file go wrong. A claim is dead when the kernel says that its process is gone.
 */
export function createWriteLock(
  file: StoreFile,
  {
    waitMs = 10_000,
    now = Date.now,
  }: { readonly waitMs?: number; readonly now?: () => number } = {},
): WriteLock {
  const directory = dirname(file.path);
  const prefix = `${basename(file.path)}.claim-`;

  async function findOtherLocks(ownLockFile?: string): Promise<readonly string[]> {
    const lockFiles = (await readdir(directory)).filter(
      (name) => name.startsWith(prefix) && name !== ownLockFile,
    );
    const ownHostId = await currentHostId();
    const activeLocks: string[] = [];
    for (const lock of lockFiles) {
      if (await isLockActive(directory, lock, prefix, ownHostId, now())) activeLocks.push(lock);
      // Names are never used twice, so this cannot hit a claim made meanwhile.
      else await unlink(join(directory, lock)).catch(() => undefined);
    }
    return activeLocks;
  }

  async function tryLock(): Promise<string | undefined> {
    if ((await findOtherLocks()).length > 0) return undefined;
    const ownLockFile = `${prefix}${await currentHostId()}-${process.pid}-${(await processStartTime(process.pid)) ?? ''}-${randomBytes(4).toString('hex')}`;
    await writeFile(join(directory, ownLockFile), '', { flag: 'wx', mode: 0o600 });
    if ((await findOtherLocks(ownLockFile)).length === 0) return ownLockFile;
    await unlink(join(directory, ownLockFile));
    return undefined;
  }

  async function lock(): Promise<string> {
    const deadline = now() + waitMs;
    try {
      for (;;) {
        const ownLockFile = await tryLock();
        if (ownLockFile !== undefined) return ownLockFile;
        if (now() > deadline) throw lockTimeoutError(file, directory, await findOtherLocks());
        await sleep(5 + Math.random() * 20);
      }
    } catch (thrown) {
      throw fileError('write', file, thrown);
    }
  }

  return {
    async run(work) {
      const ownLockFile = await lock();
      const acquiredAt = now();
      const assertHeld = (): void => {
        if (now() - acquiredAt > maxHoldMs)
          throw new SecretError(
            'STORE_TIMEOUT',
            `writing the ${describeFile(file)} took too long; nothing was changed`,
          );
      };
      try {
        return await work(assertHeld);
      } finally {
        await unlink(join(directory, ownLockFile)).catch(() => undefined);
      }
    },
  };
}

function lockTimeoutError(
  file: StoreFile,
  directory: string,
  lockFiles: readonly string[],
): SecretError {
  const lockFile = lockFiles[0];
  return new SecretError('STORE_TIMEOUT', `another process is writing the ${describeFile(file)}`, {
    hint:
      lockFile === undefined
        ? 'try again'
        : `try again; if there is none, remove ${sanitizeExternalText(join(directory, lockFile))}`,
  });
}

async function isLockActive(
  directory: string,
  lockFile: string,
  prefix: string,
  ownHostId: string,
  now: number,
): Promise<boolean> {
  const [hostId, pid, startTime] = lockFile.slice(prefix.length).split('-');
  if (hostId === ownHostId) return isProcessRunning(Number(pid), startTime ?? '');
  // Another container or machine: its processes cannot be asked for, only its clock.
  const stats = await stat(join(directory, lockFile)).catch(() => undefined);
  return stats !== undefined && now - stats.mtimeMs < foreignLockMaxAgeMs;
}

async function isProcessRunning(pid: number, startTime: string): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (thrown) {
    if (systemErrorCode(thrown) === 'ESRCH') return false;
  }
  // The number may be another process's by now. Where its start cannot be read it is taken for the same one.
  const currentStartTime = await processStartTime(pid);
  return currentStartTime === undefined || startTime === '' || currentStartTime === startTime;
}

/** When a process began, in the kernel's ticks (proc(5), field 22); undefined where there is no /proc. */
async function processStartTime(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined);
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[19];
}

/** Within which process numbers mean the same processes: one boot of a machine, one pid namespace. */
async function currentHostId(): Promise<string> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'latin1').catch(() => hostname());
  const namespace = await readlink('/proc/self/ns/pid').catch(() => '');
  return createHash('sha256').update(`${boot}${namespace}`).digest('hex').slice(0, 12);
}
