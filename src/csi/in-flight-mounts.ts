import { SecretError } from '../core/errors.ts';

/** A mount under way, until its last byte has left or its caller has. */
export type InFlightMount = {
  /** Answers with this error, unless it is answered already. */
  fail(error: SecretError): void;
};

/** All mounts under way: see {@link createInFlightMounts}. */
export type InFlightMounts = {
  readonly size: number;
  add(call: InFlightMount): void;
  remove(call: InFlightMount): void;
  /**
   * Waits until none is under way, at most `graceMs`. Then answers those that are left, and from then on every new one at once, with SHUTTING_DOWN:
   * a stream that closes without a status would be no final answer.
   */
  drain(graceMs: number): Promise<void>;
};

/** Keeps the mounts under way, so that none is left without an answer when the process ends. */
export function createInFlightMounts(): InFlightMounts {
  const calls = new Set<InFlightMount>();
  let drained = false;
  let onIdle = (): void => undefined;

  return {
    get size() {
      return calls.size;
    },
    add(call) {
      calls.add(call);
      if (drained) call.fail(shuttingDown());
    },
    remove(call) {
      calls.delete(call);
      if (calls.size === 0) onIdle();
    },
    async drain(graceMs) {
      if (calls.size > 0) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, graceMs);
          onIdle = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      drained = true;
      for (const call of calls) call.fail(shuttingDown());
    },
  };
}

function shuttingDown(): SecretError {
  return new SecretError(
    'SHUTTING_DOWN',
    'Keyferry stops on this node and did not finish the mount in time',
    {
      hint: 'the kubelet tries again, and its successor serves it',
    },
  );
}
