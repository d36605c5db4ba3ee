import { SharedCall } from '../../../concurrency/single-flight.ts';
import { type SecretError, toSecretError } from '../../../core/errors.ts';
import type { SecretRef } from '../../../core/plan.ts';
import type { FetchRequest, FetchResult } from '../../../core/provider.ts';
import type { CallContext, AuthenticatedCall } from './authenticated-call.ts';

/** Requests for one call. Never empty, and each name stands in it once. */
export type Batch<C> = readonly [FetchRequest<C>, ...FetchRequest<C>[]];

/** How a store is read by calls that take several refs. */
export type BatchReading<C> = {
  /** How many refs one call takes. */
  readonly max: number;
  /** By what an answer tells refs apart; default their name. */
  readonly nameOf?: (ref: SecretRef) => string;
  /** Whether a request can be answered by such a call; default all. */
  readonly isBatchable?: (request: FetchRequest<C>) => boolean;
  readonly authenticatedCall: AuthenticatedCall<C>;
  /** One call. Results in the order of the batch; nothing for what is to be asked for alone. */
  readonly readBatch: (
    batch: Batch<C>,
    context: CallContext<C>,
  ) => Promise<readonly (FetchResult | undefined)[]>;
  readonly readSingle: (request: FetchRequest<C>) => Promise<FetchResult>;
  /** Whether each is to be asked for alone after a failure of all; default {@link shouldReadIndividually}. */
  readonly onBatchFailure?: (error: SecretError, batch: Batch<C>) => 'alone' | 'fail';
};

/**
 * An answer for each request: several by one call where that can be, the others, and what such a call leaves open, each by its own. A call
 * ends when nobody waits for it any more.
 */
export function readInBatches<C>(
  requests: readonly FetchRequest<C>[],
  options: BatchReading<C>,
): ReadonlyMap<FetchRequest<C>, Promise<FetchResult>> {
  const { isBatchable = () => true, readSingle } = options;
  const resultByRequest = new Map<FetchRequest<C>, Promise<FetchResult>>();
  for (const batch of groupIntoBatches(requests.filter(isBatchable), options)) {
    if (batch.length === 1) continue;
    const sharedCall = new SharedCall((signal) => callBatch(batch, signal, options));
    batch.forEach((request, index) => {
      const result = sharedCall
        .join(request.signal)
        .then((results) => results[index] ?? readSingle(request));
      resultByRequest.set(request, result);
    });
  }
  for (const request of requests)
    if (!resultByRequest.has(request)) resultByRequest.set(request, readSingle(request));
  return resultByRequest;
}

/** Puts together what one principal asks of one place on behalf of one namespace with one urgency. */
function groupIntoBatches<C>(
  requests: readonly FetchRequest<C>[],
  { max, nameOf = ({ name }) => name }: Pick<BatchReading<C>, 'max' | 'nameOf'>,
): readonly Batch<C>[] {
  const nameIn = ({ grant }: FetchRequest<C>): string => nameOf(grant.ref);
  const countByName = countBy(requests, nameIn);
  const sameNameCount = (request: FetchRequest<C>): number => countByName.get(nameIn(request)) ?? 0;
  const batches = new Map<string, [FetchRequest<C>, ...FetchRequest<C>[]][]>();
  // Each namesake needs a batch of its own: they go first, and the others fill those up.
  for (const request of [...requests].sort((a, b) => sameNameCount(b) - sameNameCount(a))) {
    const { ref, principal, workload } = request.grant;
    const location = [principal.fingerprint, ref.region, ref.endpoint];
    const key = JSON.stringify([...location, workload.tenant, request.urgency]);
    const openBatches = batches.get(key) ?? [];
    batches.set(key, openBatches);
    const batchWithSpace = openBatches.find(
      (batch) => batch.length < max && !batch.some((other) => nameIn(other) === nameIn(request)),
    );
    if (batchWithSpace === undefined) openBatches.push([request]);
    else batchWithSpace.push(request);
  }
  return [...batches.values()].flat();
}

function countBy<T>(items: readonly T[], keyOf: (item: T) => string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1);
  return counts;
}

async function callBatch<C>(
  batch: Batch<C>,
  signal: AbortSignal,
  { authenticatedCall, readBatch, onBatchFailure = defaultOnBatchFailure }: BatchReading<C>,
): Promise<readonly (FetchResult | undefined)[]> {
  const onStart = (): void => batch.forEach((request) => request.onStart());
  try {
    return await authenticatedCall({ ...batch[0], signal, onStart }, (context) =>
      readBatch(batch, context),
    );
  } catch (thrown) {
    if (onBatchFailure(toSecretError(thrown), batch) === 'alone') return [];
    throw thrown;
  }
}

function defaultOnBatchFailure(error: SecretError): 'alone' | 'fail' {
  return shouldReadIndividually(error) ? 'alone' : 'fail';
}

/** Whether asking for each alone may tell more than this failure of all: a refusal may be about one of them, or they are too large for one answer. */
export function shouldReadIndividually({ kind, code }: SecretError): boolean {
  return (
    (kind === 'definite' && code !== 'CREDENTIALS_REFUSED') || code === 'STORE_ANSWER_TOO_LARGE'
  );
}
