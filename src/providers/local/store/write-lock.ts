import { createHash, randomBytes } from 'node:crypto';
import { readFile, readdir, readlink, stat, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SecretError } from '../../../core/errors.ts';
import { quoteForeign } from '../../../core/safe-text.ts';
import { type NamedFile, describeFile, fileFault, systemCode } from './files.ts';

/** A claim from where no process can be asked for is taken for dead at this age, in ms. */
const longestForeignClaim = 60_000;
/** Its holder, wherever it is, writes nothing after half of that. */
const longestHold = longestForeignClaim / 2;

/** Keeps writers of one file apart, in this process and in others. See {@link createWriteLock}. */
export type WriteLock = {
  /**
   * Waits for its turn and runs `work` alone. Before it writes, the work calls `stillHeld`, which throws when it took so
   * long that another could have taken its turn.
   * @throws SecretError STORE_TIMEOUT after 10 s of waiting, LOCAL_STORE_UNREADABLE, and what `work` throws
   */
  run<T>(work: (stillHeld: () => void) => Promise<T>): Promise<T>;
};

/**
 * A lock for a file, whose path is absolute and without links. Each writer puts a claim of its own beside the file, an empty file named for its
 * process, then looks around: it holds the lock if there is no other living claim, and else withdraws and tries again. Of two
 * writers the later one to look sees both claims, so never do two hold it; and nobody ever takes over what was another's, which is
 * where locks made of one file go wrong. A claim is dead when the kernel says that its process is gone.
 */
export function createWriteLock(
  file: NamedFile,
  { waitMs = 10_000, now = Date.now }: { readonly waitMs?: number; readonly now?: () => number } = {},
): WriteLock {
  const directory = dirname(file.path);
  const prefix = `${basename(file.path)}.claim-`;

  async function others(own?: string): Promise<readonly string[]> {
    const claims = (await readdir(directory)).filter((name) => name.startsWith(prefix) && name !== own);
    const here = await place();
    const living: string[] = [];
    for (const claim of claims) {
      if (await isLiving(directory, claim, prefix, here, now())) living.push(claim);
      // Names are never used twice, so this cannot hit a claim made meanwhile.
      else await unlink(join(directory, claim)).catch(() => undefined);
    }
    return living;
  }

  async function claimAlone(): Promise<string | undefined> {
    if ((await others()).length > 0) return undefined;
    const own = `${prefix}${await place()}-${process.pid}-${(await startOf(process.pid)) ?? ''}-${randomBytes(4).toString('hex')}`;
    await writeFile(join(directory, own), '', { flag: 'wx', mode: 0o600 });
    if ((await others(own)).length === 0) return own;
    await unlink(join(directory, own));
    return undefined;
  }

  async function claim(): Promise<string> {
    const patience = now() + waitMs;
    try {
      for (;;) {
        const own = await claimAlone();
        if (own !== undefined) return own;
        if (now() > patience) throw busy(file, directory, await others());
        await sleep(5 + Math.random() * 20);
      }
    } catch (thrown) {
      throw fileFault('write', file, thrown);
    }
  }

  return {
    async run(work) {
      const own = await claim();
      const since = now();
      const stillHeld = (): void => {
        if (now() - since > longestHold)
          throw new SecretError(
            'STORE_TIMEOUT',
            `writing the ${describeFile(file)} took too long; nothing was changed`,
          );
      };
      try {
        return await work(stillHeld);
      } finally {
        await unlink(join(directory, own)).catch(() => undefined);
      }
    },
  };
}

function busy(file: NamedFile, directory: string, claims: readonly string[]): SecretError {
  const claim = claims[0];
  return new SecretError('STORE_TIMEOUT', `another process is writing the ${describeFile(file)}`, {
    hint:
      claim === undefined
        ? 'try again'
        : `try again; if there is none, remove ${quoteForeign(join(directory, claim))}`,
  });
}

async function isLiving(
  directory: string,
  claim: string,
  prefix: string,
  here: string,
  now: number,
): Promise<boolean> {
  const [where, pid, start] = claim.slice(prefix.length).split('-');
  if (where === here) return runs(Number(pid), start ?? '');
  // Another container or machine: its processes cannot be asked for, only its clock.
  const stats = await stat(join(directory, claim)).catch(() => undefined);
  return stats !== undefined && now - stats.mtimeMs < longestForeignClaim;
}

async function runs(pid: number, start: string): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (thrown) {
    if (systemCode(thrown) === 'ESRCH') return false;
  }
  // The number may be another process's by now. Where its start cannot be read it is taken for the same one.
  const running = await startOf(pid);
  return running === undefined || start === '' || running === start;
}

/** When a process began, in the kernel's ticks (proc(5), field 22); undefined where there is no /proc. */
async function startOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined);
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[19];
}

/** Within which process numbers mean the same processes: one boot of a machine, one pid namespace. */
async function place(): Promise<string> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'latin1').catch(() => hostname());
  const namespace = await readlink('/proc/self/ns/pid').catch(() => '');
  return createHash('sha256').update(`${boot}${namespace}`).digest('hex').slice(0, 12);
}
