import { toSecretError, type SecretError } from '../../errors/secret-error.ts';
import { createFlight } from '../../flow/single-flight.ts';
import type { FetchRequest, FetchResult } from '../provider.ts';
import type { Attempts } from './attempts.ts';
import type { AwsCredential } from './identity.ts';
import type { Asker } from './question.ts';

export type Request = FetchRequest<AwsCredential>;

/** Asks for one secret. */
export type AskAlone = (request: Request) => Promise<FetchResult>;

/** Requests for one call. Never empty, and each name stands in it once. */
export type Batch = readonly [Request, ...Request[]];

/** Puts together what one principal asks of one region on behalf of one namespace with one urgency. */
export function batchesOf(requests: readonly Request[], max: number): readonly Batch[] {
  const namesakes = countBy(requests, nameOf);
  const common = (request: Request): number => namesakes.get(nameOf(request)) ?? 0;
  const batches = new Map<string, [Request, ...Request[]][]>();
  // Each namesake needs a batch of its own: they go first, and the others fill those up.
  for (const request of [...requests].sort((a, b) => common(b) - common(a))) {
    const { ref, principal, workload } = request.grant;
    const key = JSON.stringify([principal.fingerprint, ref.region, workload.namespace, request.urgency]);
    const open = batches.get(key) ?? [];
    batches.set(key, open);
    const fits = open.find(
      (batch) => batch.length < max && !batch.some((other) => nameOf(other) === nameOf(request)),
    );
    if (fits === undefined) open.push([request]);
    else fits.push(request);
  }
  return [...batches.values()].flat();
}

function nameOf({ grant }: Request): string {
  return grant.ref.name;
}

function countBy<T>(items: readonly T[], keyOf: (item: T) => string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1);
  return counts;
}

/**
 * Asks for a batch by one call, which ends when nobody waits for it any more. What it leaves open is asked for alone, and so is everything
 * where it was refused for something that may be about one of them, or is too large for one answer.
 */
export function askTogether(
  batch: Batch,
  deps: {
    readonly attempts: Attempts;
    readonly call: (asker: Asker) => Promise<readonly (FetchResult | undefined)[]>;
    readonly alone: AskAlone;
  },
): readonly Promise<FetchResult>[] {
  const { attempts, call, alone } = deps;
  const flight = createFlight(async (signal) => {
    const onStart = (): void => batch.forEach((request) => request.onStart());
    try {
      return await attempts({ ...batch[0], signal, onStart }, call);
    } catch (thrown) {
      if (batch.length > 1 && isAboutOne(toSecretError(thrown))) return [];
      throw thrown;
    }
  });
  return batch.map(async (request, index) => {
    const together = await flight.join(request.signal);
    return together[index] ?? alone(request);
  });
}

/** Whether asking for each alone may tell more than this failure does. */
export function isAboutOne({ kind, code }: SecretError): boolean {
  return (kind === 'definite' && code !== 'CREDENTIALS_REFUSED') || code === 'STORE_ANSWER_TOO_LARGE';
}
