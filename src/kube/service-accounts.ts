import { LRUCache } from 'lru-cache';
import * as z from 'zod';
import { SecretError } from '../core/errors.ts';
import { sanitizeExternalText } from '../core/safe-text.ts';
import { raceWithAbort } from '../concurrency/single-flight.ts';
import { SharedCall } from '../concurrency/single-flight.ts';
import type { KubeApi } from './api.ts';

/** Older answers serve nobody, whatever the caller would take. */
const maxAgeMs = 60_000;
/** Of annotations kept, in characters. */
const maxCachedCharacters = 4_194_304;

/** A ServiceAccount, as far as admission looks at it. */
export type ServiceAccount = {
  readonly uid: string;
  readonly annotations: ReadonlyMap<string, string>;
};

/** What accounts say at the moment. */
export type ServiceAccounts = {
  /**
   * An account as it stood at `notBefore` (milliseconds since the epoch) or later.
   * @throws SecretError NOT_GRANTED where there is none; ADMISSION_UNAVAILABLE or NOT_CONFIGURED where nobody can say; the signal's reason
   *   when it fires. No failure is remembered.
   */
  get(question: {
    readonly namespace: string;
    readonly name: string;
    readonly notBefore: number;
    readonly signal: AbortSignal;
  }): Promise<ServiceAccount>;
};

type CachedAccount = { readonly account: ServiceAccount; readonly requestedAt: number };
/** Under way, or waiting for the one that is; then `begunAt` is Infinity. */
type PendingRead = { startedAt: number; ended: Promise<void>; call: SharedCall<ServiceAccount> };

const schema = z.object({
  metadata: z.object({
    uid: z.string().min(1),
    annotations: z.record(z.string(), z.string()).nullish(),
  }),
});

/**
 * A question is answered from what was asked at or after its `notBefore`, else joins a read that begins after it, else reads. For each account at
 * most one read is under way and one waits for its end: however many pods arrive together, they cost two.
 */
export function createServiceAccounts({
  api,
  now,
}: {
  api: KubeApi;
  now: () => number;
}): ServiceAccounts {
  const accounts = new LRUCache<string, CachedAccount>({
    maxSize: maxCachedCharacters,
    sizeCalculation,
  });
  const reads = new Map<string, PendingRead[]>();

  function startRead(key: string, namespace: string, name: string): PendingRead {
    const queue = reads.get(key) ?? [];
    const previous = queue.findLast((read) => !read.call.abandoned);
    let markEnded = (): void => undefined;
    const ended = new Promise<void>((resolve) => {
      markEnded = resolve;
    });
    const call = new SharedCall(async (signal) => {
      try {
        await raceWithAbort(previous?.ended ?? Promise.resolve(), signal);
        read.startedAt = now();
        const account = await readAccount(api, namespace, name, signal);
        accounts.set(key, { account, requestedAt: read.startedAt });
        return account;
      } catch (thrown) {
        // An account that is gone is not to be served from memory either.
        if (thrown instanceof SecretError && thrown.kind === 'definite') accounts.delete(key);
        throw thrown;
      } finally {
        queue.splice(queue.indexOf(read), 1);
        if (queue.length === 0 && reads.get(key) === queue) reads.delete(key);
        markEnded();
      }
    });
    const read: PendingRead = { startedAt: Infinity, ended, call };
    queue.push(read);
    reads.set(key, queue);
    return read;
  }

  return {
    async get({ namespace, name, notBefore, signal }) {
      signal.throwIfAborted();
      const key = JSON.stringify([namespace, name]);
      const known = accounts.get(key);
      const at = now();
      // One from the future was asked for before the clock was set back, nobody knows when.
      const isFresh = (requestedAt: number): boolean =>
        requestedAt <= at && requestedAt >= Math.max(notBefore, at - maxAgeMs);
      if (known !== undefined && isFresh(known.requestedAt)) return known.account;
      const joinable = reads
        .get(key)
        ?.find((read) => read.startedAt >= notBefore && !read.call.abandoned);
      return (joinable ?? startRead(key, namespace, name)).call.join(signal);
    },
  };
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
  const label = `ServiceAccount ${sanitizeExternalText(namespace)}/${sanitizeExternalText(name)}`;
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
      `${label} cannot be read: what came is no ServiceAccount`,
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
