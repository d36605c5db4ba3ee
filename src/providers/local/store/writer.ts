import { mkdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SecretError, errorCodeOf } from '../../../core/errors.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import { WriteLock } from '../../../files/write-lock.ts';
import { generateIdentity, recipientOf } from './age.ts';
import type { StoreDocument } from './document.ts';
import { type StoreFile, describeFile, fileError } from './atomic-file.ts';
import { type Keys, readKeys, writeKeys } from './keys.ts';
import {
  type StoreFiles,
  type StorePaths,
  readEncryptedStore,
  writeEncryptedStore,
  toStoreFiles,
} from './encrypted-store.ts';

/**
 * Changes a local store. One writer at a time over all processes. Each change is complete or does
 * not happen. Opens no file before the first change.
 */
export class StoreWriter {
  readonly #paths: StorePaths;
  readonly #now: () => number;

  /** @param options.now milliseconds since the epoch; default Date.now */
  constructor({ now = Date.now, ...paths }: StorePaths & { readonly now?: () => number }) {
    this.#paths = paths;
    this.#now = now;
  }

  /**
   * Creates the store and its directory, and a key if the key file does not exist.
   * @throws SecretError INVALID_REQUEST if the store exists; LOCAL_STORE_UNREADABLE; STORE_TIMEOUT
   */
  async init(): Promise<{ readonly recipient: string; readonly keyMade: boolean }> {
    for (const file of Object.values(toStoreFiles(this.#paths))) await createDirectory(file);
    return this.#withWriteLock(async (files) => {
      if (await exists(files.store))
        throw new SecretError(
          'INVALID_REQUEST',
          `the ${describeFile(files.store)} exists already`,
          { hint: 'use it as it is, or name another place with --store and --key' },
        );
      const keyMade = !(await exists(files.key));
      const keys: Keys = keyMade ? [await generateIdentity()] : await readKeys(files.key);
      // The key goes first, because a store without its key is lost.
      if (keyMade) await writeKeys(files.key, keys, this.#now());
      await writeEncryptedStore(files, { keys, document: new Map() });
      return { recipient: await recipientOf(keys[0]), keyMade };
    });
  }

  /**
   * Applies `edit` to the present content. Writes nothing if `edit` returns the same document.
   * @returns what `edit` returns
   * @throws SecretError LOCAL_STORE_UNREADABLE, STORE_TIMEOUT; what `edit` throws
   */
  async change<T extends { readonly document: StoreDocument }>(
    edit: (document: StoreDocument) => T,
  ): Promise<T> {
    return this.#withWriteLock(async (files, assertHeld) => {
      const { keys, document } = await readEncryptedStore(files);
      const edited = edit(document);
      assertHeld();
      if (edited.document !== document)
        await writeEncryptedStore(files, { keys, document: edited.document });
      return edited;
    });
  }

  /**
   * Encrypts the store for a new key and removes the old one.
   * @throws SecretError LOCAL_STORE_UNREADABLE, STORE_TIMEOUT
   */
  async rotateKey(): Promise<{ readonly recipient: string }> {
    return this.#withWriteLock(async (files, assertHeld) => {
      const { keys, document } = await readEncryptedStore(files);
      const newIdentity = await generateIdentity();
      assertHeld();
      // In this order the key file opens the store after each step.
      await writeKeys(files.key, [newIdentity, ...keys], this.#now());
      await writeEncryptedStore(files, { keys: [newIdentity], document });
      await writeKeys(files.key, [newIdentity], this.#now());
      return { recipient: await recipientOf(newIdentity) };
    });
  }

  /**
   * Resolves symbolic links first: a rename onto a link would replace the link and leave two
   * stores.
   */
  async #withWriteLock<T>(
    work: (files: StoreFiles, assertHeld: () => void) => Promise<T>,
  ): Promise<T> {
    const unresolvedFiles = toStoreFiles(this.#paths);
    const files = toStoreFiles({
      storeFile: await resolveLinks(unresolvedFiles.store),
      keyFile: await resolveLinks(unresolvedFiles.key),
    });
    const lock = new WriteLock({
      path: files.store.path,
      description: describeFile(files.store),
      toError: (thrown) => fileError('write', files.store, thrown),
    });
    return lock.run(async (assertHeld) => work(files, assertHeld));
  }
}

async function resolveLinks(file: StoreFile): Promise<string> {
  try {
    return await realpath(file.path);
  } catch (thrown) {
    if (errorCodeOf(thrown) !== 'ENOENT') throw fileError('read', file, thrown);
  }
  try {
    return join(await realpath(dirname(file.path)), basename(file.path));
  } catch (thrown) {
    throw fileError('read', file, thrown);
  }
}

async function exists(file: StoreFile): Promise<boolean> {
  try {
    await stat(file.path);
    return true;
  } catch (thrown) {
    if (errorCodeOf(thrown) === 'ENOENT') return false;
    throw fileError('read', file, thrown);
  }
}

/**
 * Creates one level only: Node's recursive mkdir does not end where ENOENT persists, as in /proc.
 */
async function createDirectory(file: StoreFile): Promise<void> {
  const directory = dirname(file.path);
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (thrown) {
    const code = errorCodeOf(thrown);
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT') throw fileError('write', file, thrown);
    const parentDirectory = sanitizeUserText(dirname(directory));
    throw new SecretError(
      'INVALID_REQUEST',
      `cannot make the ${describeFile(file)}: there is no directory ${parentDirectory}`,
      {
        hint: 'make it, or name another place with --store and --key',
        cause: thrown,
      },
    );
  }
}
