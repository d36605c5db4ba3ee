import { raceWithAbort } from '../concurrency/deadline.ts';
import { SharedCall, abandonedReason } from '../concurrency/single-flight.ts';
import { SecretError, toSecretError } from '../core/errors.ts';
import type {
  FetchRequest,
  FetchResult,
  Grant,
  Patience,
  Provider,
  Urgency,
} from '../core/provider.ts';
import type { Batcher } from './batcher.ts';
import { readTimeoutMs } from './freshness.ts';

/** What a read needs to start. */
type ReadRequest = Pick<FetchRequest, 'grant' | 'known' | 'urgency' | 'patience'> & {
  readonly provider: Provider;
};

/** A read that has not ended. Several workloads can join it. */
class InFlightRead extends SharedCall<FetchResult> {
  /** The workload that started it. */
  readonly instance: string;
  readonly urgency: Urgency;
  /** Of the workload that started it. */
  readonly patience: Patience;

  constructor(
    { grant, urgency, patience = () => 0 }: ReadRequest,
    read: (controller: AbortController) => Promise<FetchResult>,
  ) {
    super(read);
    this.instance = grant.workload.instance;
    this.urgency = urgency;
    this.patience = patience;
  }
}

/** Applies a result to the cache and returns the result that the waiters get. */
export type OnResult = (result: FetchResult, sentAt: number) => FetchResult;

/** What {@link InFlightReads} needs. */
export type InFlightReadsDeps = {
  readonly fetchBatched: Batcher;
  readonly now: () => number;
  /** Called with a result that came after the last waiter had left. */
  readonly onLateResult: (provider: Provider, grant: Grant, result: FetchResult) => void;
  /** From the moment the rate limiter lets a read go. Default {@link readTimeoutMs}. */
  readonly timeoutMs?: number;
};

/** How long a read waits for the rate limiter. No waiter has a later deadline. */
const rateLimitWaitTimeoutMs = 120_000;

/**
 * At most one read per key is in flight. A read ends with its last waiter or at its own deadline,
 * whichever comes first.
 */
export class InFlightReads {
  readonly #fetchBatched: Batcher;
  readonly #now: () => number;
  readonly #onLateResult: InFlightReadsDeps['onLateResult'];
  readonly #timeoutMs: number;
  readonly #reads = new Map<string, InFlightRead>();

  constructor({ fetchBatched, now, onLateResult, timeoutMs = readTimeoutMs }: InFlightReadsDeps) {
    this.#fetchBatched = fetchBatched;
    this.#now = now;
    this.#onLateResult = onLateResult;
    this.#timeoutMs = timeoutMs;
  }

  /** The read in flight for a key, if it still has a waiter. */
  find(key: string): InFlightRead | undefined {
    const inFlightRead = this.#reads.get(key);
    return inFlightRead === undefined || inFlightRead.isCancelled ? undefined : inFlightRead;
  }

  /**
   * Starts a read. `onResult` gets the result, and the time at which the request was sent, before
   * any waiter. It is not called for a read that all waiters have left.
   */
  start(key: string, request: ReadRequest, onResult: OnResult): InFlightRead {
    const inFlightRead = new InFlightRead(request, async (controller) => {
      try {
        return await this.#read(request, onResult, controller);
      } finally {
        if (this.#reads.get(key) === inFlightRead) this.#reads.delete(key);
      }
    });
    this.#reads.set(key, inFlightRead);
    return inFlightRead;
  }

  async #read(
    { provider, ...request }: ReadRequest,
    onResult: OnResult,
    controller: AbortController,
  ): Promise<FetchResult> {
    let sentAt = this.#now();
    const onTimeout = (): void => controller.abort(readTimeoutError(provider, request.grant));
    let timer = setTimeout(onTimeout, rateLimitWaitTimeoutMs);
    let started = false;
    const onStart = (): void => {
      // A retry gets only the time that the first attempt left.
      if (started) return;
      started = true;
      sentAt = this.#now();
      clearTimeout(timer);
      timer = setTimeout(onTimeout, this.#timeoutMs);
    };
    const { signal } = controller;
    const response = this.#fetchBatched(provider, { ...request, signal, onStart });
    let result: FetchResult;
    try {
      result = await raceWithAbort(response, signal);
    } catch (reason) {
      // The last waiter left, or the time was up. The response may still come later.
      void response.then((late) => this.#onLateResult(provider, request.grant, late));
      result = { kind: 'failed', error: toSecretError(reason) };
      if (reason === abandonedReason) return result;
    } finally {
      started = true;
      clearTimeout(timer);
    }
    return onResult(result, sentAt);
  }
}

function readTimeoutError(provider: Provider, { ref }: Grant): SecretError {
  return new SecretError(
    'STORE_TIMEOUT',
    `${provider.name}: reading ${ref.service} ${ref.name} took too long`,
    {
      hint: 'check that the store is reachable from this node',
    },
  );
}
