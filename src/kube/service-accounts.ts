import { LRUCache } from 'lru-cache';
import * as z from 'zod';
import { SecretError } from '../core/errors.ts';
import { sanitizeUserText } from '../core/safe-text.ts';
import { raceWithAbort } from '../concurrency/deadline.ts';
import { SharedCall } from '../concurrency/single-flight.ts';
import type { KubeApi } from './api.ts';

/** The oldest account that is served, whatever `notBefore` allows. */
const maxAgeMs = 60_000;
/** The limit of cached annotations, in characters. */
const maxCachedCharacters = 4_194_304;

/** The part of a ServiceAccount that authorization uses. */
export type ServiceAccount = {
  readonly uid: string;
  readonly annotations: ReadonlyMap<string, string>;
};

type CachedAccount = { readonly account: ServiceAccount; readonly requestedAt: number };
/** A read in flight, or one that waits for it. The latter has `startedAt` Infinity. */
type PendingRead = { startedAt: number; ended: Promise<void>; call: SharedCall<ServiceAccount> };

const schema = z.object({
  metadata: z.object({
    uid: z.string().min(1),
    annotations: z.record(z.string(), z.string()).nullish(),
  }),
});

/** Options of {@link ServiceAccounts}. */
export type ServiceAccountsDeps = {
  readonly api: KubeApi;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** Reads ServiceAccounts from the API server, with a short cache. */
export class ServiceAccounts {
  readonly #deps: ServiceAccountsDeps;
  readonly #accounts = new LRUCache<string, CachedAccount>({
    maxSize: maxCachedCharacters,
    sizeCalculation,
  });
  readonly #reads = new Map<string, PendingRead[]>();

  constructor(deps: ServiceAccountsDeps) {
    this.#deps = deps;
  }

  /**
   * An account as it was at `notBefore` (milliseconds since the epoch) or later. It comes from the
   * cache, from a pending read that starts after `notBefore`, or from a new read. For each account
   * at most one read is in flight and one waits for it, so any number of concurrent pods costs two.
   * @throws SecretError NOT_GRANTED if there is no such account; ADMISSION_UNAVAILABLE or
   *   NOT_CONFIGURED if it cannot be read; the reason of the signal when it fires. No failure is
   *   cached.
   */
  async get({
    namespace,
    name,
    notBefore,
    signal,
  }: {
    readonly namespace: string;
    readonly name: string;
    readonly notBefore: number;
    readonly signal: AbortSignal;
  }): Promise<ServiceAccount> {
    signal.throwIfAborted();
    const key = JSON.stringify([namespace, name]);
    const known = this.#accounts.get(key);
    const at = this.#deps.now();
    // A read in the future happened before the clock was set back, so its age is not known.
    const isFresh = (requestedAt: number): boolean =>
      requestedAt <= at && requestedAt >= Math.max(notBefore, at - maxAgeMs);
    if (known !== undefined && isFresh(known.requestedAt)) return known.account;
    const joinable = this.#reads
      .get(key)
      ?.find((read) => read.startedAt >= notBefore && !read.call.isCancelled);
    return (joinable ?? this.#startRead(key, namespace, name)).call.join(signal);
  }

  #startRead(key: string, namespace: string, name: string): PendingRead {
    const { api, now } = this.#deps;
    const queue = this.#reads.get(key) ?? [];
    const previous = queue.findLast((read) => !read.call.isCancelled);
    let markEnded = (): void => undefined;
    const ended = new Promise<void>((resolve) => {
      markEnded = resolve;
    });
    const call = new SharedCall(async ({ signal }) => {
      try {
        await raceWithAbort(previous?.ended ?? Promise.resolve(), signal);
        read.startedAt = now();
        const account = await readAccount(api, namespace, name, signal);
        this.#accounts.set(key, { account, requestedAt: read.startedAt });
        return account;
      } catch (thrown) {
        // An account that is gone must not be served from the cache.
        if (thrown instanceof SecretError && thrown.kind === 'definite') this.#accounts.delete(key);
        throw thrown;
      } finally {
        queue.splice(queue.indexOf(read), 1);
        if (queue.length === 0 && this.#reads.get(key) === queue) this.#reads.delete(key);
        markEnded();
      }
    });
    const read: PendingRead = { startedAt: Infinity, ended, call };
    queue.push(read);
    this.#reads.set(key, queue);
    return read;
  }
}

function sizeCalculation({ account }: CachedAccount): number {
  const lengths = [...account.annotations].map(([name, value]) => name.length + value.length);
  return lengths.reduce((sum, length) => sum + length, 200);
}

async function readAccount(
  api: KubeApi,
  namespace: string,
  name: string,
  signal: AbortSignal,
): Promise<ServiceAccount> {
  const label = `ServiceAccount ${sanitizeUserText(namespace)}/${sanitizeUserText(name)}`;
  try {
    const path = ['api', 'v1', 'namespaces', namespace, 'serviceaccounts', name];
    const { metadata } = schema.parse(await api.get(path, signal));
    return { uid: metadata.uid, annotations: new Map(Object.entries(metadata.annotations ?? {})) };
  } catch (thrown) {
    signal.throwIfAborted();
    throw toAccountError(label, thrown);
  }
}

function toAccountError(label: string, thrown: unknown): SecretError {
  if (!(thrown instanceof SecretError)) {
    return new SecretError(
      'ADMISSION_UNAVAILABLE',
      `${label} cannot be read: the response is not a ServiceAccount`,
    );
  }
  const { code, message, hint } = thrown;
  if (code === 'OBJECT_NOT_FOUND') return new SecretError('NOT_GRANTED', `${label} does not exist`);
  if (code === 'ACCESS_DENIED') {
    return new SecretError('ADMISSION_UNAVAILABLE', `Keyferry may not read ${label}: ${message}`, {
      hint: 'give its ClusterRole the verb get for serviceaccounts in the API group ""',
    });
  }
  return new SecretError(
    code,
    `${label} cannot be read: ${message}`,
    hint === undefined ? {} : { hint },
  );
}
