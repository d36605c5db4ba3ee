import { createFlight } from '../../../concurrency/single-flight.ts';
import { type SecretError, toSecretError } from '../../../core/errors.ts';
import type { SecretRef } from '../../../core/plan.ts';
import type { FetchRequest, FetchResult } from '../../../core/provider.ts';
import type { Asker, Attempts } from './authenticated-call.ts';

/** Requests for one call. Never empty, and each name stands in it once. */
export type Batch<C> = readonly [FetchRequest<C>, ...FetchRequest<C>[]];

/** How a store is read by calls that take several refs. */
export type BatchReading<C> = {
  /** How many refs one call takes. */
  readonly max: number;
  /** By what an answer tells refs apart; default their name. */
  readonly nameOf?: (ref: SecretRef) => string;
  /** Whether a request can be answered by such a call; default all. */
  readonly mayJoin?: (request: FetchRequest<C>) => boolean;
  readonly attempts: Attempts<C>;
  /** One call. Results in the order of the batch; nothing for what is to be asked for alone. */
  readonly together: (batch: Batch<C>, asker: Asker<C>) => Promise<readonly (FetchResult | undefined)[]>;
  readonly alone: (request: FetchRequest<C>) => Promise<FetchResult>;
  /** Whether each is to be asked for alone after a failure of all; default {@link isAboutOne}. */
  readonly afterFailure?: (error: SecretError, batch: Batch<C>) => 'alone' | 'fail';
};

/**
 * An answer for each request: several by one call where that can be, the others, and what such a call leaves open, each by its own. A call
 * ends when nobody waits for it any more.
 */
export function readInBatches<C>(
  requests: readonly FetchRequest<C>[],
  reading: BatchReading<C>,
): ReadonlyMap<FetchRequest<C>, Promise<FetchResult>> {
  const { mayJoin = () => true, alone } = reading;
  const answers = new Map<FetchRequest<C>, Promise<FetchResult>>();
  for (const batch of batchesOf(requests.filter(mayJoin), reading)) {
    if (batch.length === 1) continue;
    const flight = createFlight((signal) => askTogether(batch, signal, reading));
    batch.forEach((request, index) => {
      const answer = flight.join(request.signal).then((results) => results[index] ?? alone(request));
      answers.set(request, answer);
    });
  }
  for (const request of requests) if (!answers.has(request)) answers.set(request, alone(request));
  return answers;
}

/** Puts together what one principal asks of one place on behalf of one namespace with one urgency. */
function batchesOf<C>(
  requests: readonly FetchRequest<C>[],
  { max, nameOf = ({ name }) => name }: Pick<BatchReading<C>, 'max' | 'nameOf'>,
): readonly Batch<C>[] {
  const nameIn = ({ grant }: FetchRequest<C>): string => nameOf(grant.ref);
  const namesakes = countBy(requests, nameIn);
  const common = (request: FetchRequest<C>): number => namesakes.get(nameIn(request)) ?? 0;
  const batches = new Map<string, [FetchRequest<C>, ...FetchRequest<C>[]][]>();
  // Each namesake needs a batch of its own: they go first, and the others fill those up.
  for (const request of [...requests].sort((a, b) => common(b) - common(a))) {
    const { ref, principal, workload } = request.grant;
    const place = [principal.fingerprint, ref.region, ref.endpoint];
    const key = JSON.stringify([...place, workload.namespace, request.urgency]);
    const open = batches.get(key) ?? [];
    batches.set(key, open);
    const fits = open.find(
      (batch) => batch.length < max && !batch.some((other) => nameIn(other) === nameIn(request)),
    );
    if (fits === undefined) open.push([request]);
    else fits.push(request);
  }
  return [...batches.values()].flat();
}

function countBy<T>(items: readonly T[], keyOf: (item: T) => string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1);
  return counts;
}

async function askTogether<C>(
  batch: Batch<C>,
  signal: AbortSignal,
  { attempts, together, afterFailure = afterRefusal }: BatchReading<C>,
): Promise<readonly (FetchResult | undefined)[]> {
  const onStart = (): void => batch.forEach((request) => request.onStart());
  try {
    return await attempts({ ...batch[0], signal, onStart }, (asker) => together(batch, asker));
  } catch (thrown) {
    if (afterFailure(toSecretError(thrown), batch) === 'alone') return [];
    throw thrown;
  }
}

function afterRefusal(error: SecretError): 'alone' | 'fail' {
  return isAboutOne(error) ? 'alone' : 'fail';
}

/** Whether asking for each alone may tell more than this failure of all: a refusal may be about one of them, or they are too large for one answer. */
export function isAboutOne({ kind, code }: SecretError): boolean {
  return (kind === 'definite' && code !== 'CREDENTIALS_REFUSED') || code === 'STORE_ANSWER_TOO_LARGE';
}
