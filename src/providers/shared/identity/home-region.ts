import { SingleFlight } from '../../../concurrency/single-flight.ts';

/**
 * The region that the operator set, else the region of the node. There is no other default. Without
 * a grant for another region, a shared identity serves this region only.
 */
export class HomeRegion {
  readonly #lookUp: (signal: AbortSignal) => Promise<string>;
  readonly #singleFlight = new SingleFlight<string>();
  #region: string | undefined;

  /**
   * @param configured the region that the operator set
   * @param lookUp finds the region of the node; called until it succeeds once
   */
  constructor(configured: string | undefined, lookUp: (signal: AbortSignal) => Promise<string>) {
    this.#region = configured;
    this.#lookUp = lookUp;
  }

  /** Undefined before the first success of `get`, if the operator set none. */
  get known(): string | undefined {
    return this.#region;
  }

  /** @throws what the lookup throws */
  async get(signal: AbortSignal): Promise<string> {
    this.#region ??= await this.#singleFlight.run('region', signal, this.#lookUp);
    return this.#region;
  }

  /**
   * Runs a check of grants with the home region. It looks the region up only if the check needs it:
   * grants that list the regions of a class need no call to the node, and no answer from it.
   * @param check throws if a region other than `home` is not granted
   * @throws what `check` throws
   */
  async check(signal: AbortSignal, check: (home: string | undefined) => void): Promise<void> {
    if (this.#region === undefined) {
      try {
        return check(undefined);
      } catch {
        await this.get(signal).catch(() => undefined);
      }
    }
    check(this.#region);
  }
}
