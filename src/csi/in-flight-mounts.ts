import { SecretError } from '../core/errors.ts';

/** A mount from its request until its stream has closed. */
export type InFlightMount = {
  /** Responds with this error, unless the mount has a response already. */
  fail(error: SecretError): void;
};

/**
 * The mounts in flight. When the process stops, each of them gets a final status: a stream that
 * closes without one is not final for the driver.
 */
export class InFlightMounts {
  readonly #mounts = new Set<InFlightMount>();
  #drained = false;
  #onIdle = (): void => undefined;

  get size(): number {
    return this.#mounts.size;
  }

  add(mount: InFlightMount): void {
    this.#mounts.add(mount);
    if (this.#drained) mount.fail(shuttingDown());
  }

  remove(mount: InFlightMount): void {
    this.#mounts.delete(mount);
    if (this.#mounts.size === 0) this.#onIdle();
  }

  /**
   * Waits at most `graceMs` until no mount is in flight. Then it fails the remaining mounts, and
   * every later one at once, with SHUTTING_DOWN.
   */
  async drain(graceMs: number): Promise<void> {
    if (this.#mounts.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, graceMs);
        this.#onIdle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#drained = true;
    for (const mount of this.#mounts) mount.fail(shuttingDown());
  }
}

function shuttingDown(): SecretError {
  return new SecretError(
    'SHUTTING_DOWN',
    'Keyferry stops on this node and did not finish the mount in time',
    { hint: 'the kubelet tries again, and the next Keyferry process serves it' },
  );
}
