import { type Flight, createFlight, race } from '../concurrency/single-flight.ts';
import { SecretError, toSecretError } from '../core/errors.ts';
import type { FetchRequest, FetchResult, Grant, Provider } from '../core/provider.ts';
import { flightTimeout } from './freshness.ts';

/** Puts a question to a provider. Never rejects. */
export type Batcher = (provider: Provider, request: FetchRequest) => Promise<FetchResult>;

/**
 * Gathers the questions of one turn of the event loop into one `fetch` a provider, so that a store with batches sees a mount's refs
 * together, and turns whatever a provider throws into a `failed` result.
 */
export function createBatcher(): Batcher {
  type Question = { readonly request: FetchRequest; readonly answer: (result: FetchResult) => void };
  const waiting = new Map<Provider, Question[]>();

  const flush = (provider: Provider): void => {
    const questions = waiting.get(provider) ?? [];
    waiting.delete(provider);
    const failed = (error: SecretError): FetchResult => ({ kind: 'failed', error });
    try {
      const results = provider.fetch(questions.map(({ request }) => request));
      questions.forEach(({ answer }, index) => {
        const result = results[index] ?? Promise.resolve(failed(unanswered(provider)));
        result.then(answer, (thrown: unknown) => answer(failed(toSecretError(thrown))));
      });
    } catch (thrown) {
      for (const { answer } of questions) answer(failed(toSecretError(thrown)));
    }
  };

  return (provider, request) =>
    new Promise((answer) => {
      const questions = waiting.get(provider);
      if (questions === undefined) {
        waiting.set(provider, [{ request, answer }]);
        queueMicrotask(() => flush(provider));
      } else {
        questions.push({ request, answer });
      }
    });
}

function unanswered(provider: Provider): SecretError {
  return new SecretError('INTERNAL', `provider ${provider.name} left a question unanswered`);
}

/** A question under way, with what those who join it need to know of it. */
export type ReadFlight = Flight<FetchResult> & {
  /** The workload that began it. */
  readonly instance: string;
  readonly urgency: FetchRequest['urgency'];
};

/** What a flight needs to begin. */
export type Question = Pick<FetchRequest, 'grant' | 'known' | 'urgency'> & { readonly provider: Provider };

/** See {@link createFlights}. */
export type Flights = {
  /** The flight under way for a key, if somebody still waits for it. */
  underWay(key: string): ReadFlight | undefined;
  /**
   * Begins one. `land` is told the answer, and when it was asked for, before any waiter is; it may answer for it. It is not told the answer
   * of a flight that everybody has left.
   */
  begin(key: string, question: Question, land: Landing): ReadFlight;
};

/** What becomes of an answer. */
export type Landing = (result: FetchResult, askedAt: number) => FetchResult;

/** What {@link createFlights} needs. */
export type FlightsDeps = {
  readonly ask: Batcher;
  readonly now: () => number;
  /** Told an answer that came when nobody waited any more. */
  readonly stray: (provider: Provider, grant: Grant, result: FetchResult) => void;
  /** Milliseconds from the moment the budget lets a read go; default {@link flightTimeout}. */
  readonly timeout?: number;
};

/** Longest life of a flight that never gets its budget: no waiter's deadline is later. */
const budgetPatience = 120_000;

/** At most one read a key is under way; it ends with its last waiter or at its own deadline, whichever comes first. */
export function createFlights({ ask, now, stray, timeout = flightTimeout }: FlightsDeps): Flights {
  const flights = new Map<string, ReadFlight>();

  const read = async (
    { provider, ...request }: Question,
    land: Landing,
    abandoned: AbortSignal,
  ): Promise<FetchResult> => {
    let askedAt = now();
    const late = new AbortController();
    const expire = (): void => late.abort(tookTooLong(provider, request.grant));
    let timer = setTimeout(expire, budgetPatience);
    let started = false;
    const onStart = (): void => {
      // A second attempt has no more time than was left by the first.
      if (started) return;
      started = true;
      askedAt = now();
      clearTimeout(timer);
      timer = setTimeout(expire, timeout);
    };
    const signal = AbortSignal.any([abandoned, late.signal]);
    const answer = ask(provider, { ...request, signal, onStart });
    try {
      const result = await race(answer, signal);
      return land(result, askedAt);
    } catch (error) {
      // Only our own two signals reject; the answer, should it still come, is nobody's.
      void answer.then((result) => stray(provider, request.grant, result));
      const failed: FetchResult = { kind: 'failed', error: error as SecretError };
      return abandoned.aborted ? failed : land(failed, askedAt);
    } finally {
      started = true;
      clearTimeout(timer);
    }
  };

  return {
    underWay(key) {
      const flight = flights.get(key);
      return flight === undefined || flight.abandoned ? undefined : flight;
    },
    begin(key, question, land) {
      const flight = createFlight(async (abandoned) => {
        try {
          return await read(question, land, abandoned);
        } finally {
          if (flights.get(key) === readFlight) flights.delete(key);
        }
      });
      const readFlight: ReadFlight = {
        join: (signal) => flight.join(signal),
        get abandoned() {
          return flight.abandoned;
        },
        instance: question.grant.workload.instance,
        urgency: question.urgency,
      };
      flights.set(key, readFlight);
      return readFlight;
    },
  };
}

function tookTooLong(provider: Provider, { ref }: Grant): SecretError {
  return new SecretError(
    'STORE_TIMEOUT',
    `${provider.name}: reading ${ref.service} ${ref.name} took too long`,
    {
      hint: 'see whether the store is reachable from this node',
    },
  );
}
