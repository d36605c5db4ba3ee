import { SecretError } from '../../../core/errors.ts';
import { decrypt, encrypt } from './age.ts';
import { type StoreDocument, formatDocument, parseDocument } from './document.ts';
import { type NamedFile, readWhole, replaceWhole } from './files.ts';
import { type Keys, readKeys } from './keys.ts';

/** Largest store file, in bytes: it is held in memory whole. */
export const largestStore = 8 * 1024 * 1024;

/** Where a local store is: the paths of its two files. */
export type StorePlace = { readonly storeFile: string; readonly keyFile: string };

/** A local store's two files. */
export type StoreFiles = { readonly store: NamedFile; readonly key: NamedFile };

/** Names the two files of a local store for messages. */
export function storeFiles({ storeFile, keyFile }: StorePlace): StoreFiles {
  return {
    store: { what: 'local store', path: storeFile },
    key: { what: 'key of the local store', path: keyFile },
  };
}

/** An opened store. */
export type OpenStore = { readonly keys: Keys; readonly document: StoreDocument };

/**
 * Reads and decrypts a store.
 * @throws SecretError LOCAL_STORE_UNREADABLE
 */
export async function openStore({ store, key }: StoreFiles): Promise<OpenStore> {
  const keys = await readKeys(key);
  const ciphertext = await readWhole(store, largestStore);
  return { keys, document: parseDocument(await decrypt(store, ciphertext, keys)) };
}

/**
 * Encrypts a store for the first of the keys and puts it in place, atomically. The caller holds the write lock.
 * @throws SecretError INVALID_REQUEST when it would become too large, LOCAL_STORE_UNREADABLE
 */
export async function sealStore({ store }: StoreFiles, { keys, document }: OpenStore): Promise<void> {
  const ciphertext = await encrypt(formatDocument(document), keys[0]);
  if (ciphertext.length > largestStore)
    throw new SecretError(
      'INVALID_REQUEST',
      `the local store would become larger than ${largestStore / 1024} KiB`,
      {
        hint: 'remove secrets or old versions: `keyferry local rm NAME --version vN`; nothing was changed',
      },
    );
  await replaceWhole(store, ciphertext);
}
