import { FairQueue } from './fair-queue.ts';

type Waiter<Request> = { readonly request: Request; readonly resume: () => void };

/**
 * A fair queue of callers that wait for a resource. The limiters are built on it. A limiter calls
 * `wait` where the resource is exhausted, and `resumeNext` when it has become available.
 */
export class WaitQueue<Request = undefined> {
  readonly #waiters = new FairQueue<Waiter<Request>>();
  readonly #onAbort: (() => void) | undefined;

  /** @param options.onAbort called after a waiter has left the queue because its signal fired */
  constructor({ onAbort }: { readonly onAbort?: () => void } = {}) {
    this.#onAbort = onAbort;
  }

  get size(): number {
    return this.#waiters.size;
  }

  /** How many callers of one namespace wait. */
  sizeOf(namespace: string): number {
    return this.#waiters.sizeOf(namespace);
  }

  /**
   * Joins the queue and waits for `resumeNext`.
   * @throws the signal's reason if the signal fires first; the waiter then leaves the queue
   */
  async wait(namespace: string, signal: AbortSignal, request: Request): Promise<void> {
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters.remove(namespace, waiter);
        reject(signal.reason as Error);
        this.#onAbort?.();
      };
      const waiter: Waiter<Request> = {
        request,
        resume: () => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      this.#waiters.push(namespace, waiter);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** What the next waiter requests. */
  peek(): Request | undefined {
    return this.#waiters.peek()?.request;
  }

  /** The first namespace in turn that has a waiter and is eligible. */
  findNamespace(isEligible: (namespace: string) => boolean): string | undefined {
    return this.#waiters.findNamespace(isEligible);
  }

  /**
   * Resumes the next waiter: namespaces in turn, and within a namespace in order of arrival.
   * Returns false if no caller waits.
   * @param namespace resumes its waiter out of turn
   */
  resumeNext(namespace?: string): boolean {
    const waiter = this.#waiters.shift(namespace);
    waiter?.resume();
    return waiter !== undefined;
  }
}
