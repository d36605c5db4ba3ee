import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SecretError, errorCodeOf } from '../core/errors.ts';
import type { Redacted } from '../core/redacted.ts';
import { sanitizeUserText } from '../core/safe-text.ts';
import { defaultLocalPaths } from '../providers/host-stores.ts';
import { addVersion } from '../providers/local/store/history.ts';
import { StoreWriter } from '../providers/local/store/writer.ts';

/**
 * Makes a local store and its key if they are missing.
 * @param paths default: those that the agent uses
 * @throws SecretError INVALID_REQUEST, LOCAL_STORE_UNREADABLE, STORE_TIMEOUT
 */
export async function makeLocalStore(
  paths: { readonly storeFile?: string; readonly keyFile?: string } = {},
): Promise<{ readonly storeFile: string; readonly keyFile: string; readonly isNew: boolean }> {
  const all = { ...defaultLocalPaths, ...paths };
  const found = await Promise.all([exists(all.storeFile), exists(all.keyFile)]);
  if (found.every(Boolean)) return { ...all, isNew: false };
  // The writer makes only the last directory of a path.
  for (const file of Object.values(all))
    await mkdir(dirname(dirname(file)), { recursive: true, mode: 0o755 });
  await new StoreWriter(all).init();
  return { ...all, isNew: true };
}

/**
 * Adds secrets to a local store: all of them, or none.
 * @param paths default: those that the agent uses
 * @throws SecretError INVALID_REQUEST if the store has another value under one of the names;
 *   LOCAL_STORE_UNREADABLE, STORE_TIMEOUT
 */
export async function addLocalSecrets(
  paths: { readonly storeFile?: string; readonly keyFile?: string },
  secrets: ReadonlyMap<string, Redacted<Uint8Array>>,
  now: () => number = Date.now,
): Promise<void> {
  const created = new Date(now()).toISOString();
  await new StoreWriter({ ...defaultLocalPaths, ...paths }).change((before) => {
    let document = before;
    for (const [name, value] of secrets) {
      const added = addVersion(document, name, value.reveal(), created);
      const isPresent = (before.get(name)?.versions.length ?? 0) > 0;
      if (isPresent && !added.unchanged)
        throw new SecretError(
          'INVALID_REQUEST',
          `the local store has another value of ${sanitizeUserText(name)}`,
          { hint: 'nothing was written; give other paths with --prefix' },
        );
      document = added.document;
    }
    return { document };
  });
}

async function exists(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch (thrown) {
    if (errorCodeOf(thrown) === 'ENOENT') return false;
    throw thrown;
  }
}
