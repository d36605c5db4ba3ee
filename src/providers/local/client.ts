import { SecretError, toSecretError } from '../../errors/secret-error.ts';
import { race } from '../../flow/deadline.ts';
import type { SecretRef } from '../../plan/plan.ts';
import type { FetchResult, Provider } from '../provider.ts';
import type { StoreDocument } from './document.ts';
import { findVersion } from './history.ts';
import type { StoreReader } from './store-reader.ts';

/** Answers a batch out of one reading of the store. */
export function createLocalFetch(reader: StoreReader): Provider<unknown, undefined, undefined>['fetch'] {
  return (requests) => {
    const reading = reader.read();
    // Everybody may have left by the time it fails.
    reading.catch(() => undefined);
    return requests.map(async ({ grant, signal, onStart }): Promise<FetchResult> => {
      try {
        onStart();
        return answer(await race(reading, signal), grant.ref);
      } catch (thrown) {
        return { kind: 'failed', error: toSecretError(thrown) };
      }
    });
  };
}

function answer(document: StoreDocument, { name, version }: SecretRef): FetchResult {
  try {
    const found = findVersion(document, name, version);
    return {
      kind: 'value',
      value: {
        bytes: found.bytes.reveal(),
        version: found.version,
        // A number is never given twice, so what is pinned stays as it is.
        ...(version === undefined ? {} : { immutable: true }),
      },
    };
  } catch (thrown) {
    if (thrown instanceof SecretError && thrown.code === 'OBJECT_NOT_FOUND')
      return { kind: 'absent', error: thrown };
    throw thrown;
  }
}
