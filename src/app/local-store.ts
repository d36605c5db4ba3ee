import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCodeOf } from '../core/errors.ts';
import { defaultLocalPaths } from '../providers/host-stores.ts';
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

async function exists(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch (thrown) {
    if (errorCodeOf(thrown) === 'ENOENT') return false;
    throw thrown;
  }
}
