import { raceWithAbort } from '../../concurrency/deadline.ts';
import { SecretError, toSecretError } from '../../core/errors.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { FetchResult, Provider } from '../../core/provider.ts';
import type { StoreDocument } from './store/document.ts';
import { findVersion } from './store/history.ts';
import type { StoreReader } from './store/reader.ts';

/** Reads the store once for all requests. */
export function createFetch(
  reader: Pick<StoreReader, 'read'>,
): Provider<unknown, undefined, undefined>['fetch'] {
  return (requests) => {
    const pendingDocument = reader.read();
    // When the read fails after the last caller left, no request observes the promise.
    pendingDocument.catch(() => undefined);
    return requests.map(async ({ grant, signal }): Promise<FetchResult> => {
      try {
        return toFetchResult(await raceWithAbort(pendingDocument, signal), grant.ref);
      } catch (thrown) {
        return { kind: 'failed', error: toSecretError(thrown) };
      }
    });
  };
}

function toFetchResult(document: StoreDocument, { name, version }: SecretRef): FetchResult {
  try {
    const found = findVersion(document, name, version);
    return {
      kind: 'value',
      value: {
        bytes: found.bytes.reveal(),
        version: found.version,
        // The store never uses a version number again, so a pinned version never changes.
        ...(version !== undefined && { immutable: true }),
      },
    };
  } catch (thrown) {
    if (thrown instanceof SecretError && thrown.code === 'OBJECT_NOT_FOUND')
      return { kind: 'absent', error: thrown };
    throw thrown;
  }
}
