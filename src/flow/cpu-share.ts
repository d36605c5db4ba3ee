import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';

/** Work that holds up everybody else's mounts while it runs, rationed: see {@link createCpuShare}. */
export type CpuShare = {
  /**
   * Does the work: at once; in a later turn of the event loop where others have had `turnMs` of this one; where its namespace has had more than
   * its share, when it has earned the next piece.
   * @throws what the work throws; the signal's reason where it fires while it waits. `waiter.signal` is looked at only then.
   */
  run<T>(namespace: string, waiter: { readonly signal: AbortSignal }, work: () => T): Promise<T>;
};

/** Milliseconds. What is shorter, such as all of a cached mount, is not worth a look at the turn it is done in. */
const tinyMs = 0.1;

/** What a namespace has had too much, in milliseconds, as it stood `at` that moment. */
type Debt = { readonly ms: number; readonly at: number };

/**
 * There is one thread, and a pod can ask for some 200 ms of it (large classes, slow expressions); a hundred pods of one tenant then stop all others
 * for 20 s. So a namespace may use `burstMs` at once and `share` of the time in the long run: so little that the 99th of a hundred mounts of another
 * one does not notice. Pieces shorter than `freeMs`, all that ordinary classes need, are not counted, nor is time in which the process stood still.
 *
 * And no piece keeps what others wait for from going out: when a node starts, the first of its pods asks its store while the classes of the others are
 * still being read.
 */
export function createCpuShare({
  now = (): number => performance.now(),
  cpu = usedByProcess,
  share = 0.005,
  burstMs = 250,
  freeMs = 5,
  turnMs = 2,
} = {}): CpuShare {
  const debts = new LRUCache<string, Debt>({ max: 1_000 });
  /** Milliseconds of work in this turn of the event loop, and its end. */
  let thisTurn = 0;
  let endOfTurn: Promise<void> = Promise.resolve();

  function owed(namespace: string): number {
    const debt = debts.get(namespace);
    return debt === undefined ? 0 : Math.max(0, debt.ms - (now() - debt.at) * share);
  }

  function countInTurn(ms: number): void {
    if (thisTurn === 0) endOfTurn = nextTurn().then(() => void (thisTurn = 0));
    thisTurn += ms;
  }

  return {
    async run(namespace, waiter, work) {
      for (let over = owed(namespace) - burstMs; over > 0; over = owed(namespace) - burstMs) {
        const { signal } = waiter;
        await sleep(Math.min(over / share, 1_000), undefined, { signal }).catch(() => undefined);
        signal.throwIfAborted();
      }
      while (thisTurn > turnMs) await endOfTurn;
      const [begun, usedBefore] = [now(), cpu()];
      try {
        return work();
      } finally {
        const took = now() - begun;
        if (took > tinyMs) countInTurn(took);
        const used = took > freeMs ? cpu() - usedBefore : 0;
        if (used > freeMs) debts.set(namespace, { ms: owed(namespace) + used, at: now() });
      }
    },
  };
}

/** In milliseconds, since its start. */
function usedByProcess(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
