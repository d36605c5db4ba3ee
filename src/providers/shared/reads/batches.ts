import { SharedCall } from '../../../concurrency/single-flight.ts';
import { type SecretError, toSecretError } from '../../../core/errors.ts';
import type { SecretRef } from '../../../core/plan.ts';
import type { FetchRequest, FetchResult } from '../../../core/provider.ts';
import type { CallContext, AuthenticatedCall } from './authenticated-call.ts';

/** Requests for one call. Never empty, and without two equal names. */
export type Batch<C> = readonly [FetchRequest<C>, ...FetchRequest<C>[]];

/** How to read a store whose calls take several refs. */
export type BatchReading<C> = {
  /** The maximum number of refs of one call. */
  readonly max: number;
  /** What identifies a ref in the response. Default: its name. */
  readonly nameOf?: (ref: SecretRef) => string;
  /** Whether a batch can contain the request. Default: every request. */
  readonly isBatchable?: (request: FetchRequest<C>) => boolean;
  readonly authenticatedCall: AuthenticatedCall<C>;
  /**
   * Makes one call.
   * @returns results in the order of the batch; undefined for a request to read individually
   */
  readonly readBatch: (
    batch: Batch<C>,
    context: CallContext<C>,
  ) => Promise<readonly (FetchResult | undefined)[]>;
  readonly readSingle: (request: FetchRequest<C>) => Promise<FetchResult>;
  /**
   * After a failed batch, whether to read its requests individually (`alone`) or to fail them all.
   * Default: {@link shouldReadIndividually}.
   */
  readonly onBatchFailure?: (error: SecretError, batch: Batch<C>) => 'alone' | 'fail';
};

/**
 * Reads the requests with as few calls as possible. Requests that no batch can contain, and those
 * without a result of their batch, get a call of their own. A call ends when its last caller
 * leaves.
 */
export function readInBatches<C>(
  requests: readonly FetchRequest<C>[],
  options: BatchReading<C>,
): ReadonlyMap<FetchRequest<C>, Promise<FetchResult>> {
  const { isBatchable = () => true, readSingle } = options;
  const resultByRequest = new Map<FetchRequest<C>, Promise<FetchResult>>();
  for (const batch of groupIntoBatches(requests.filter(isBatchable), options)) {
    if (batch.length === 1) continue;
    const sharedCall = new SharedCall(({ signal }) => callBatch(batch, signal, options));
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

/**
 * A batch has requests of one principal, region, endpoint, namespace and urgency, all with patience
 * or all without.
 */
function groupIntoBatches<C>(
  requests: readonly FetchRequest<C>[],
  { max, nameOf = ({ name }) => name }: Pick<BatchReading<C>, 'max' | 'nameOf'>,
): readonly Batch<C>[] {
  const nameIn = ({ grant }: FetchRequest<C>): string => nameOf(grant.ref);
  const countByName = countBy(requests, nameIn);
  const sameNameCount = (request: FetchRequest<C>): number => countByName.get(nameIn(request)) ?? 0;
  const batches = new Map<string, [FetchRequest<C>, ...FetchRequest<C>[]][]>();
  // Requests with equal names need separate batches. They come first, and the others fill the
  // batches.
  for (const request of [...requests].sort((a, b) => sameNameCount(b) - sameNameCount(a))) {
    const { ref, principal, workload } = request.grant;
    const location = [principal.fingerprint, ref.region, ref.endpoint];
    const isPatient = (request.patience?.() ?? 0) > 0;
    const key = JSON.stringify([...location, workload.tenant, request.urgency, isPatient]);
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

/**
 * Whether individual reads can succeed after this error of a batch: the error may concern one of
 * the requests only, or the values may be too large for one response.
 */
export function shouldReadIndividually({ kind, code }: SecretError): boolean {
  return (
    (kind === 'definite' && code !== 'CREDENTIALS_REFUSED') || code === 'STORE_ANSWER_TOO_LARGE'
  );
}
