import { createHash } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import type { StoreDocument } from './document.ts';
import { fileError, fileState } from './atomic-file.ts';
import { readKeys } from './keys.ts';
import { type StorePaths, readEncryptedStore, toStoreFiles } from './encrypted-store.ts';

/** Reads a local store, decrypting only what changed. */
export type StoreReader = {
  /** What the store holds now. @throws SecretError LOCAL_STORE_UNREADABLE */
  read(): Promise<StoreDocument>;
  /** Which store this is: its path without links, a digest of its keys, and the key file's mode. @throws SecretError */
  identify(): Promise<{
    readonly path: string;
    readonly keyDigest: string;
    readonly keyMode: number;
  }>;
};

/**
 * File systems stamp files with a clock that stands still for some milliseconds: a file stamped less than this before it was
 * read may change once more without a trace.
 */
const stableAfterMs = 100;

type CachedRead = {
  readonly state: string;
  readonly document: Promise<StoreDocument>;
  /** Whether an equal state means an equal file. */
  readonly isStable: boolean;
  inFlight: boolean;
};

/** Makes the reader of the store at two paths. Nothing is opened yet. */
export function createStoreReader({
  now = Date.now,
  ...paths
}: StorePaths & { readonly now?: () => number }): StoreReader {
  const files = toStoreFiles(paths);
  let lastRead: CachedRead | undefined;

  async function currentState(): Promise<{ readonly id: string; readonly isStable: boolean }> {
    const at = now();
    const [store, key] = await Promise.all([fileState(files.store), fileState(files.key)]);
    return {
      id: `${store.id} ${key.id}`,
      isStable: at - Math.max(store.mtimeMs, key.mtimeMs) > stableAfterMs,
    };
  }

  return {
    async read() {
      const { id, isStable } = await currentState();
      if (lastRead?.state === id && (lastRead.isStable || lastRead.inFlight))
        return lastRead.document;
      const cachedRead: CachedRead = {
        state: id,
        document: readDocument(),
        isStable,
        inFlight: true,
      };
      lastRead = cachedRead;
      try {
        return await cachedRead.document;
      } catch (thrown) {
        if (lastRead === cachedRead) lastRead = undefined;
        throw thrown;
      } finally {
        cachedRead.inFlight = false;
      }
    },

    async identify() {
      const { mode } = await fileState(files.key);
      const digest = createHash('sha256');
      for (const key of await readKeys(files.key)) digest.update(key.reveal());
      return { path: await realPath(), keyDigest: digest.digest('hex'), keyMode: mode };
    },
  };

  async function readDocument(): Promise<StoreDocument> {
    return (await readEncryptedStore(files)).document;
  }

  async function realPath(): Promise<string> {
    try {
      return await realpath(files.store.path);
    } catch (thrown) {
      throw fileError('read', files.store, thrown);
    }
  }
}
