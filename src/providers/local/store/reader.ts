import { createHash } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import type { StoreDocument } from './document.ts';
import { fileFault, fileState } from './files.ts';
import { readKeys } from './keys.ts';
import { type StorePlace, openStore, storeFiles } from './sealed.ts';

/** Reads a local store, decrypting only what changed. */
export type StoreReader = {
  /** What the store holds now. @throws SecretError LOCAL_STORE_UNREADABLE */
  read(): Promise<StoreDocument>;
  /** Which store this is: its path without links, a digest of its keys, and the key file's mode. @throws SecretError */
  identify(): Promise<{ readonly path: string; readonly keyDigest: string; readonly keyMode: number }>;
};

/**
 * File systems stamp files with a clock that stands still for some milliseconds: a file stamped less than this before it was
 * read may change once more without a trace.
 */
const settledAfterMs = 100;

type Opening = {
  readonly state: string;
  readonly document: Promise<StoreDocument>;
  /** Whether an equal state means an equal file. */
  readonly settled: boolean;
  underWay: boolean;
};

/** Makes the reader of the store at two paths. Nothing is opened yet. */
export function createStoreReader({
  now = Date.now,
  ...place
}: StorePlace & { readonly now?: () => number }): StoreReader {
  const files = storeFiles(place);
  let last: Opening | undefined;

  async function currentState(): Promise<{ readonly id: string; readonly settled: boolean }> {
    const at = now();
    const [store, key] = await Promise.all([fileState(files.store), fileState(files.key)]);
    return {
      id: `${store.id} ${key.id}`,
      settled: at - Math.max(store.mtimeMs, key.mtimeMs) > settledAfterMs,
    };
  }

  return {
    async read() {
      const { id, settled } = await currentState();
      if (last?.state === id && (last.settled || last.underWay)) return last.document;
      const opening: Opening = { state: id, document: openDocument(), settled, underWay: true };
      last = opening;
      try {
        return await opening.document;
      } catch (thrown) {
        if (last === opening) last = undefined;
        throw thrown;
      } finally {
        opening.underWay = false;
      }
    },

    async identify() {
      const { mode } = await fileState(files.key);
      const digest = createHash('sha256');
      for (const key of await readKeys(files.key)) digest.update(key.reveal());
      return { path: await realPath(), keyDigest: digest.digest('hex'), keyMode: mode };
    },
  };

  async function openDocument(): Promise<StoreDocument> {
    return (await openStore(files)).document;
  }

  async function realPath(): Promise<string> {
    try {
      return await realpath(files.store.path);
    } catch (thrown) {
      throw fileFault('read', files.store, thrown);
    }
  }
}
