import { mkdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SecretError } from '../../../core/errors.ts';
import { quoteForeign } from '../../../core/safe-text.ts';
import { generateIdentity, recipientOf } from './age.ts';
import type { StoreDocument } from './document.ts';
import { type NamedFile, describeFile, fileFault, systemCode } from './files.ts';
import { type Keys, readKeys, writeKeys } from './keys.ts';
import { type StoreFiles, type StorePlace, openStore, sealStore, storeFiles } from './sealed.ts';
import { createWriteLock } from './write-lock.ts';

/** Changes a local store: one writer at a time over all processes, each change whole or not at all. */
export type StoreWriter = {
  /** Makes the store, its directory, and its key unless there is one. @throws SecretError INVALID_REQUEST if the store exists */
  init(): Promise<{ readonly recipient: string; readonly keyMade: boolean }>;
  /** Applies `edit` to what the file holds at that moment; the same document back writes nothing. @throws SecretError */
  change<T extends { readonly document: StoreDocument }>(edit: (document: StoreDocument) => T): Promise<T>;
  /** Encrypts the store for a new key and drops the old one. @throws SecretError */
  rotateKey(): Promise<{ readonly recipient: string }>;
};

/** Makes the writer of the store at two paths. Nothing is opened yet. */
export function createStoreWriter({
  now = Date.now,
  ...place
}: StorePlace & { readonly now?: () => number }): StoreWriter {
  /** Links are followed first: renaming a file over a link would leave two stores. */
  async function alone<T>(work: (files: StoreFiles, stillHeld: () => void) => Promise<T>): Promise<T> {
    const named = storeFiles(place);
    const files = storeFiles({
      storeFile: await finalPath(named.store),
      keyFile: await finalPath(named.key),
    });
    return createWriteLock(files.store).run(async (stillHeld) => work(files, stillHeld));
  }

  return {
    async init() {
      for (const file of Object.values(storeFiles(place))) await makeDirectory(file);
      return alone(async (files) => {
        if (await exists(files.store))
          throw new SecretError('INVALID_REQUEST', `the ${describeFile(files.store)} exists already`, {
            hint: 'use it as it is, or name another place with --store and --key',
          });
        const keyMade = !(await exists(files.key));
        const keys: Keys = keyMade ? [await generateIdentity()] : await readKeys(files.key);
        // The key first: a store without its key would be lost.
        if (keyMade) await writeKeys(files.key, keys, now());
        await sealStore(files, { keys, document: new Map() });
        return { recipient: await recipientOf(keys[0]), keyMade };
      });
    },

    async change(edit) {
      return alone(async (files, stillHeld) => {
        const { keys, document } = await openStore(files);
        const edited = edit(document);
        stillHeld();
        if (edited.document !== document) await sealStore(files, { keys, document: edited.document });
        return edited;
      });
    },

    async rotateKey() {
      return alone(async (files, stillHeld) => {
        const { keys, document } = await openStore(files);
        const fresh = await generateIdentity();
        stillHeld();
        // In this order the key file opens the store at every moment, whichever step is the last one done.
        await writeKeys(files.key, [fresh, ...keys], now());
        await sealStore(files, { keys: [fresh], document });
        await writeKeys(files.key, [fresh], now());
        return { recipient: await recipientOf(fresh) };
      });
    },
  };
}

async function finalPath(file: NamedFile): Promise<string> {
  try {
    return await realpath(file.path);
  } catch (thrown) {
    if (systemCode(thrown) !== 'ENOENT') throw fileFault('read', file, thrown);
  }
  try {
    return join(await realpath(dirname(file.path)), basename(file.path));
  } catch (thrown) {
    throw fileFault('read', file, thrown);
  }
}

async function exists(file: NamedFile): Promise<boolean> {
  try {
    await stat(file.path);
    return true;
  } catch (thrown) {
    if (systemCode(thrown) === 'ENOENT') return false;
    throw fileFault('read', file, thrown);
  }
}

/** One level only: Node's recursive mkdir never ends where the system says ENOENT for good, as in /proc. */
async function makeDirectory(file: NamedFile): Promise<void> {
  const directory = dirname(file.path);
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (thrown) {
    const code = systemCode(thrown);
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT') throw fileFault('write', file, thrown);
    const above = quoteForeign(dirname(directory));
    throw new SecretError(
      'INVALID_REQUEST',
      `cannot make the ${describeFile(file)}: there is no directory ${above}`,
      {
        hint: 'make it, or name another place with --store and --key',
        cause: thrown,
      },
    );
  }
}
