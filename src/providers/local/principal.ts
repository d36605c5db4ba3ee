import type { Logger } from 'pino';
import { raceWithAbort } from '../../concurrency/single-flight.ts';
import { SecretError, toSecretError } from '../../core/errors.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { FetchResult, Principal, Provider } from '../../core/provider.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { Fingerprint } from '../shared/identity/fingerprint.ts';
import type { StoreDocument } from './store/document.ts';
import { findVersion } from './store/history.ts';
import type { StoreReader } from './store/reader.ts';

/** How long the store's identity is taken for unchanged, in ms: a mount whose secrets are cached then opens no file. */
const principalCacheMs = 1_000;

/** See {@link createLocalPrincipal}. */
export type LocalPrincipal = () => Promise<Principal<undefined>>;

/**
 * The one principal of a local store: whoever holds its key reads all of it, so it is a shared identity. Another file or
 * another key behind the same paths is another principal. While they cannot be read it stays the last one known, for which
 * nothing new can be read either: an outage, in which last good values serve. Warns once when others than the owner may read the key.
 */
export function createLocalPrincipal({
  reader,
  fingerprint,
  now,
  log,
}: {
  readonly reader: StoreReader;
  readonly fingerprint: Fingerprint;
  readonly now: () => number;
  readonly log: Logger;
}): LocalPrincipal {
  let cached: { readonly principal: Principal<undefined>; readonly at: number } | undefined;
  let warned = false;

  async function readPrincipal(): Promise<Principal<undefined>> {
    const { path, keyDigest, keyMode } = await reader.identify();
    if ((keyMode & 0o077) !== 0 && !warned) {
      const mode = keyMode.toString(8);
      log.warn(
        { mode },
        'others than its owner may read the key of the local store; make its mode 0600',
      );
      warned = true;
    }
    return {
      fingerprint: fingerprint({ provider: 'local', store: path, key: keyDigest }),
      description: `local store ${sanitizeExternalText(path)}`,
      identity: 'shared',
      credentials: async () => undefined,
    };
  }

  return async () => {
    const at = now();
    if (cached !== undefined && Math.abs(at - cached.at) < principalCacheMs)
      return cached.principal;
    try {
      cached = { principal: await readPrincipal(), at };
    } catch (thrown) {
      if (cached === undefined) throw thrown;
    }
    return cached.principal;
  };
}

/** Answers a batch out of one reading of the store. */
export function createLocalFetch(
  reader: StoreReader,
): Provider<unknown, undefined, undefined>['fetch'] {
  return (requests) => {
    const pendingDocument = reader.read();
    // Everybody may have left by the time it fails.
    pendingDocument.catch(() => undefined);
    return requests.map(async ({ grant, signal, onStart }): Promise<FetchResult> => {
      try {
        onStart();
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
