import { isRecent } from '../../concurrency/time.ts';
import { type SecretError, toSecretError } from '../../core/errors.ts';
import type { DeliverContext } from '../delivery/deliver.ts';
import type { RequestLimits } from './request-limits.ts';

/**
 * The manager of a swarm has no limit of its own. It asks for all tasks of a node one after
 * another, and when the node connects it holds the lock of the swarm's state meanwhile. After 30 s
 * of that, another manager takes over:
 * https://github.com/moby/swarmkit/blob/master/manager/state/store/memory.go.
 */
const readMs = 5_000;
/** So long a read takes if the store hangs or is away, also if the last good value serves. */
const slowReadMs = 2_000;
/** The limit of a read soon after a slow one. A cached value needs less. */
const shortReadMs = 300;
/** How long reads are short after a slow one. */
const shortReadsMs = 20_000;

/** Bounds what the manager of a swarm waits for: each read, and many in a row. */
export class SwarmReadLimits {
  readonly #limits: Pick<RequestLimits, 'run'>;
  readonly #now: () => number;
  /** The last slow read, and its failure if it had one. */
  #slow: { readonly at: number; readonly error: SecretError | undefined } | undefined;

  /** @param now milliseconds since the epoch */
  constructor(limits: Pick<RequestLimits, 'run'>, now: () => number) {
    this.#limits = limits;
    this.#now = now;
  }

  /**
   * Runs work that reads secrets.
   * @throws SecretError as `run` of RequestLimits; soon after a slow read, the failure of that read
   */
  async run<T>(signal: AbortSignal, work: (context: DeliverContext) => Promise<T>): Promise<T> {
    const startedAt = this.#now();
    const slow = isRecent(this.#slow?.at, shortReadsMs, startedAt) ? this.#slow : undefined;
    const noteEnd = (error?: SecretError): void => {
      const at = this.#now();
      if (at - startedAt >= slowReadMs) this.#slow = { at, error };
    };
    try {
      const result = await this.#limits.run(slow ? shortReadMs : readMs, signal, work);
      noteEnd();
      return result;
    } catch (thrown) {
      const error = toSecretError(thrown);
      noteEnd(error);
      // The short limit is not the cause.
      throw (error.code === 'DEADLINE' ? slow?.error : undefined) ?? error;
    }
  }
}
