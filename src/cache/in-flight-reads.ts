import { type SharedCall, createSharedCall, raceWithAbort } from '../concurrency/single-flight.ts';
import { SecretError, toSecretError } from '../core/errors.ts';
import type { FetchRequest, FetchResult, Grant, Provider } from '../core/provider.ts';
import { readTimeout } from './freshness.ts';

/** Puts a question to a provider. Never rejects. */
export type Batcher = (provider: Provider, request: FetchRequest) => Promise<FetchResult>;

/**
 * Gathers the questions of one turn of the event loop into one `fetch` a provider, so that a store with batches sees a mount's refs
 * together, and turns whatever a provider throws into a `failed` result.
 */
export function createBatcher(): Batcher {
  type PendingRead = {
    readonly request: FetchRequest;
    readonly resolve: (result: FetchResult) => void;
  };
  const pendingByProvider = new Map<Provider, PendingRead[]>();

  const flush = (provider: Provider): void => {
    const pending = pendingByProvider.get(provider) ?? [];
    pendingByProvider.delete(provider);
    const failed = (error: SecretError): FetchResult => ({ kind: 'failed', error });
    try {
      const results = provider.fetch(pending.map(({ request }) => request));
      pending.forEach(({ resolve }, index) => {
        const result = results[index] ?? Promise.resolve(failed(missingResultError(provider)));
        result.then(resolve, (thrown: unknown) => resolve(failed(toSecretError(thrown))));
      });
    } catch (thrown) {
      for (const { resolve } of pending) resolve(failed(toSecretError(thrown)));
    }
  };

  return (provider, request) =>
    new Promise((resolve) => {
      const pending = pendingByProvider.get(provider);
      if (pending === undefined) {
        pendingByProvider.set(provider, [{ request, resolve }]);
        queueMicrotask(() => flush(provider));
      } else {
        pending.push({ request, resolve });
      }
    });
}

function missingResultError(provider: Provider): SecretError {
  return new SecretError('INTERNAL', `provider ${provider.name} left a question unanswered`);
}

/** A question under way, with what those who join it need to know of it. */
export type InFlightRead = SharedCall<FetchResult> & {
  /** The workload that began it. */
  readonly instance: string;
  readonly urgency: FetchRequest['urgency'];
};

/** What a flight needs to begin. */
export type ReadRequest = Pick<FetchRequest, 'grant' | 'known' | 'urgency'> & {
  readonly provider: Provider;
};

/** See {@link createInFlightReads}. */
export type InFlightReads = {
  /** The flight under way for a key, if somebody still waits for it. */
  find(key: string): InFlightRead | undefined;
  /**
   * Begins one. `land` is told the answer, and when it was asked for, before any waiter is; it may answer for it. It is not told the answer
   * of a flight that everybody has left.
   */
  start(key: string, request: ReadRequest, onResult: OnResult): InFlightRead;
};

/** What becomes of an answer. */
export type OnResult = (result: FetchResult, sentAt: number) => FetchResult;

/** What {@link createInFlightReads} needs. */
export type InFlightReadsDeps = {
  readonly fetchBatched: Batcher;
  readonly now: () => number;
  /** Told an answer that came when nobody waited any more. */
  readonly onLateResult: (provider: Provider, grant: Grant, result: FetchResult) => void;
  /** Milliseconds from the moment the budget lets a read go; default {@link readTimeout}. */
  readonly timeout?: number;
};

/** Longest life of a flight that never gets its budget: no waiter's deadline is later. */
const rateLimitWaitTimeout = 120_000;

/** At most one read a key is under way; it ends with its last waiter or at its own deadline, whichever comes first. */
export function createInFlightReads({
  fetchBatched,
  now,
  onLateResult,
  timeout = readTimeout,
}: InFlightReadsDeps): InFlightReads {
  const inFlightReads = new Map<string, InFlightRead>();

  const read = async (
    { provider, ...request }: ReadRequest,
    onResult: OnResult,
    abandoned: AbortSignal,
  ): Promise<FetchResult> => {
    let sentAt = now();
    const timeoutController = new AbortController();
    const onTimeout = (): void =>
      timeoutController.abort(readTimeoutError(provider, request.grant));
    let timer = setTimeout(onTimeout, rateLimitWaitTimeout);
    let started = false;
    const onStart = (): void => {
      // A second attempt has no more time than was left by the first.
      if (started) return;
      started = true;
      sentAt = now();
      clearTimeout(timer);
      timer = setTimeout(onTimeout, timeout);
    };
    const signal = AbortSignal.any([abandoned, timeoutController.signal]);
    const response = fetchBatched(provider, { ...request, signal, onStart });
    try {
      const result = await raceWithAbort(response, signal);
      return onResult(result, sentAt);
    } catch (error) {
      // Only our own two signals reject; the answer, should it still come, is nobody's.
      void response.then((result) => onLateResult(provider, request.grant, result));
      const failed: FetchResult = { kind: 'failed', error: error as SecretError };
      return abandoned.aborted ? failed : onResult(failed, sentAt);
    } finally {
      started = true;
      clearTimeout(timer);
    }
  };

  return {
    find(key) {
      const inFlightRead = inFlightReads.get(key);
      return inFlightRead === undefined || inFlightRead.abandoned ? undefined : inFlightRead;
    },
    start(key, request, onResult) {
      const sharedCall = createSharedCall(async (abandoned) => {
        try {
          return await read(request, onResult, abandoned);
        } finally {
          if (inFlightReads.get(key) === inFlightRead) inFlightReads.delete(key);
        }
      });
      const inFlightRead: InFlightRead = {
        join: (signal) => sharedCall.join(signal),
        get abandoned() {
          return sharedCall.abandoned;
        },
        instance: request.grant.workload.instance,
        urgency: request.urgency,
      };
      inFlightReads.set(key, inFlightRead);
      return inFlightRead;
    },
  };
}

function readTimeoutError(provider: Provider, { ref }: Grant): SecretError {
  return new SecretError(
    'STORE_TIMEOUT',
    `${provider.name}: reading ${ref.service} ${ref.name} took too long`,
    {
      hint: 'see whether the store is reachable from this node',
    },
  );
}
