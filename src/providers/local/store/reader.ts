import { createHash } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { fileError, fileState } from './atomic-file.ts';
import type { StoreDocument } from './document.ts';
import {
  type StoreFiles,
  type StorePaths,
  readEncryptedStore,
  toStoreFiles,
} from './encrypted-store.ts';
import { readKeys } from './keys.ts';

/**
 * The clock of a file system can stand still for some milliseconds. So a file whose time stamp was
 * younger than this at the read can change again and keep its time stamp.
 */
const stableAfterMs = 100;

type CachedRead = {
  readonly state: string;
  readonly document: Promise<StoreDocument>;
  /** Whether an equal state means an equal file. */
  readonly isStable: boolean;
  inFlight: boolean;
};

/** Which store it is, and with which keys. */
export type StoreIdentity = {
  /** Without symbolic links. */
  readonly path: string;
  readonly keyDigest: string;
  /** The permission bits of the key file. */
  readonly keyMode: number;
};

/**
 * Reads a local store. It decrypts the file again only after a change, and opens no file before the
 * first read.
 */
export class StoreReader {
  readonly #files: StoreFiles;
  readonly #now: () => number;
  #lastRead: CachedRead | undefined;

  /** @param options.now milliseconds since the epoch; default Date.now */
  constructor({ now = Date.now, ...paths }: StorePaths & { readonly now?: () => number }) {
    this.#files = toStoreFiles(paths);
    this.#now = now;
  }

  /** Returns the present content of the store. @throws SecretError LOCAL_STORE_UNREADABLE */
  async read(): Promise<StoreDocument> {
    const { id, isStable } = await this.#currentState();
    const lastRead = this.#lastRead;
    if (lastRead?.state === id && (lastRead.isStable || lastRead.inFlight))
      return lastRead.document;
    const cachedRead: CachedRead = {
      state: id,
      document: this.#readDocument(),
      isStable,
      inFlight: true,
    };
    this.#lastRead = cachedRead;
    try {
      return await cachedRead.document;
    } catch (thrown) {
      if (this.#lastRead === cachedRead) this.#lastRead = undefined;
      throw thrown;
    } finally {
      cachedRead.inFlight = false;
    }
  }

  /** @throws SecretError LOCAL_STORE_UNREADABLE */
  async identify(): Promise<StoreIdentity> {
    const { mode } = await fileState(this.#files.key);
    const digest = createHash('sha256');
    for (const key of await readKeys(this.#files.key)) digest.update(key.reveal());
    return { path: await this.#realPath(), keyDigest: digest.digest('hex'), keyMode: mode };
  }

  async #currentState(): Promise<{ readonly id: string; readonly isStable: boolean }> {
    const at = this.#now();
    const files = this.#files;
    const [store, key] = await Promise.all([fileState(files.store), fileState(files.key)]);
    return {
      id: `${store.id} ${key.id}`,
      isStable: at - Math.max(store.mtimeMs, key.mtimeMs) > stableAfterMs,
    };
  }

  async #readDocument(): Promise<StoreDocument> {
    return (await readEncryptedStore(this.#files)).document;
  }

  async #realPath(): Promise<string> {
    try {
      return await realpath(this.#files.store.path);
    } catch (thrown) {
      throw fileError('read', this.#files.store, thrown);
    }
  }
}
