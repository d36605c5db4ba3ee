import { SecretError, toSecretError } from '../../../core/errors.ts';
import type { SecretRef } from '../../../core/plan.ts';
import type { FetchRequest, Principal } from '../../../core/provider.ts';
import type { AuthenticatedCall, CallContext } from './authenticated-call.ts';

/** A call to a store that the host makes for itself, and not for an application. */
export type HostCall<C> = {
  /** What the store sees: the host. */
  readonly principal: Principal<C>;
  /** The service and the place of the call. Its name has no meaning. */
  readonly ref: SecretRef;
  readonly signal: AbortSignal;
};

/**
 * Makes a call of the host by the path of all reads: the same login, gate and rate.
 * @param store begins the message of an error: `huawei`
 */
export async function callAsHost<C, T>(
  authenticatedCall: AuthenticatedCall<C>,
  { store, ...hostCall }: HostCall<C> & { readonly store: string },
  call: (context: CallContext<C>) => Promise<T>,
): Promise<T> {
  const { ref, principal, signal } = hostCall;
  const grant = { ref, principal, workload: { tenant: '' } };
  try {
    return await authenticatedCall(
      { grant, urgency: 'first', signal, onStart: () => undefined },
      call,
    );
  } catch (thrown) {
    signal.throwIfAborted();
    const error = toSecretError(thrown);
    throw error.with({ message: `${store}: ${error.message}` });
  }
}

/**
 * Waits for a call that only shows that the store knows the host. A host that may read secrets need
 * not have the right to list them. So a refusal of the call itself counts as success. The login is
 * not part of the call: a refused role is a failure.
 * @throws SecretError for a store that is away, and for credentials that it refuses
 */
export async function ignoreRefusal(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (thrown) {
    if (!(thrown instanceof SecretError)) throw thrown;
    if (thrown.kind !== 'definite' || thrown.code === 'CREDENTIALS_REFUSED') throw thrown;
  }
}

/** More than any store has of use to a reader of the list. */
const maxItems = 10_000;

/**
 * Collects the pages of a list, until there is no next page, or one that was there before.
 * @param readPage gets the marker of the page; undefined for the first one
 * @returns at most 10,000 items and the rest of their page
 */
export async function readPages<T>(
  readPage: (
    marker: string | undefined,
  ) => Promise<{ readonly items: readonly T[]; readonly next: string | undefined }>,
): Promise<readonly T[]> {
  const all: T[] = [];
  const markers = new Set<string | undefined>();
  let marker: string | undefined;
  do {
    markers.add(marker);
    const { items, next } = await readPage(marker);
    all.push(...items);
    marker = next;
  } while (marker !== undefined && !markers.has(marker) && all.length < maxItems);
  return all;
}

/**
 * The requests, with a region for the refs that name none. The region of a host can be known only
 * when its principal is.
 */
export function inRegion<C>(
  requests: readonly FetchRequest<C>[],
  region: string | undefined,
): readonly FetchRequest<C>[] {
  if (region === undefined) return requests;
  return requests.map((request) => {
    const { grant } = request;
    return { ...request, grant: { ...grant, ref: { region, ...grant.ref } } };
  });
}
