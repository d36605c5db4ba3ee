import { mkdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SecretError } from '../../../core/errors.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import { generateIdentity, recipientOf } from './age.ts';
import type { StoreDocument } from './document.ts';
import { type StoreFile, describeFile, fileError, systemErrorCode } from './atomic-file.ts';
import { type Keys, readKeys, writeKeys } from './keys.ts';
import {
  type StoreFiles,
  type StorePaths,
  readEncryptedStore,
  writeEncryptedStore,
  toStoreFiles,
} from './encrypted-store.ts';
import { createWriteLock } from './write-lock.ts';

/** Changes a local store: one writer at a time over all processes, each change whole or not at all. */
export type StoreWriter = {
  /** Makes the store, its directory, and its key unless there is one. @throws SecretError INVALID_REQUEST if the store exists */
  init(): Promise<{ readonly recipient: string; readonly keyMade: boolean }>;
  /** Applies `edit` to what the file holds at that moment; the same document back writes nothing. @throws SecretError */
  change<T extends { readonly document: StoreDocument }>(
    edit: (document: StoreDocument) => T,
  ): Promise<T>;
  /** Encrypts the store for a new key and drops the old one. @throws SecretError */
  rotateKey(): Promise<{ readonly recipient: string }>;
};

/** Makes the writer of the store at two paths. Nothing is opened yet. */
export function createStoreWriter({
  now = Date.now,
  ...paths
}: StorePaths & { readonly now?: () => number }): StoreWriter {
  /** Links are followed first: renaming a file over a link would leave two stores. */
  async function withWriteLock<T>(
    work: (files: StoreFiles, assertHeld: () => void) => Promise<T>,
  ): Promise<T> {
    const unresolvedFiles = toStoreFiles(paths);
    const files = toStoreFiles({
      storeFile: await resolveLinks(unresolvedFiles.store),
      keyFile: await resolveLinks(unresolvedFiles.key),
    });
    return createWriteLock(files.store).run(async (assertHeld) => work(files, assertHeld));
  }

  return {
    async init() {
      for (const file of Object.values(toStoreFiles(paths))) await createDirectory(file);
      return withWriteLock(async (files) => {
        if (await exists(files.store))
          throw new SecretError(
            'INVALID_REQUEST',
            `the ${describeFile(files.store)} exists already`,
            {
              hint: 'use it as it is, or name another place with --store and --key',
            },
          );
        const keyMade = !(await exists(files.key));
        const keys: Keys = keyMade ? [await generateIdentity()] : await readKeys(files.key);
        // The key first: a store without its key would be lost.
        if (keyMade) await writeKeys(files.key, keys, now());
        await writeEncryptedStore(files, { keys, document: new Map() });
        return { recipient: await recipientOf(keys[0]), keyMade };
      });
    },

    async change(edit) {
      return withWriteLock(async (files, assertHeld) => {
        const { keys, document } = await readEncryptedStore(files);
        const edited = edit(document);
        assertHeld();
        if (edited.document !== document)
          await writeEncryptedStore(files, { keys, document: edited.document });
        return edited;
      });
    },

    async rotateKey() {
      return withWriteLock(async (files, assertHeld) => {
        const { keys, document } = await readEncryptedStore(files);
        const newIdentity = await generateIdentity();
        assertHeld();
        // In this order the key file opens the store at every moment, whichever step is the last one done.
        await writeKeys(files.key, [newIdentity, ...keys], now());
        await writeEncryptedStore(files, { keys: [newIdentity], document });
        await writeKeys(files.key, [newIdentity], now());
        return { recipient: await recipientOf(newIdentity) };
      });
    },
  };
}

async function resolveLinks(file: StoreFile): Promise<string> {
  try {
    return await realpath(file.path);
  } catch (thrown) {
    if (systemErrorCode(thrown) !== 'ENOENT') throw fileError('read', file, thrown);
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
    if (systemErrorCode(thrown) === 'ENOENT') return false;
    throw fileError('read', file, thrown);
  }
}

/** One level only: Node's recursive mkdir never ends where the system says ENOENT for good, as in /proc. */
async function createDirectory(file: StoreFile): Promise<void> {
  const directory = dirname(file.path);
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (thrown) {
    const code = systemErrorCode(thrown);
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT') throw fileError('write', file, thrown);
    const parentDirectory = sanitizeExternalText(dirname(directory));
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
