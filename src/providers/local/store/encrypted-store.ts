import { SecretError } from '../../../core/errors.ts';
import { decrypt, encrypt } from './age.ts';
import { type StoreDocument, serializeDocument, parseDocument } from './document.ts';
import { type StoreFile, readRegularFile, writeFileAtomically } from './atomic-file.ts';
import { type Keys, readKeys } from './keys.ts';

/** Largest store file, in bytes: it is held in memory whole. */
export const maxStoreBytes = 8 * 1024 * 1024;

/** Where a local store is: the paths of its two files. */
export type StorePaths = { readonly storeFile: string; readonly keyFile: string };

/** A local store's two files. */
export type StoreFiles = { readonly store: StoreFile; readonly key: StoreFile };

/** Names the two files of a local store for messages. */
export function toStoreFiles({ storeFile, keyFile }: StorePaths): StoreFiles {
  return {
    store: { label: 'local store', path: storeFile },
    key: { label: 'key of the local store', path: keyFile },
  };
}

/** An opened store. */
export type DecryptedStore = { readonly keys: Keys; readonly document: StoreDocument };

/**
 * Reads and decrypts a store.
 * @throws SecretError LOCAL_STORE_UNREADABLE
 */
export async function readEncryptedStore({ store, key }: StoreFiles): Promise<DecryptedStore> {
  const keys = await readKeys(key);
  const ciphertext = await readRegularFile(store, maxStoreBytes);
  return { keys, document: parseDocument(await decrypt(store, ciphertext, keys)) };
}

/**
 * Encrypts a store for the first of the keys and puts it in place, atomically. The caller holds the write lock.
 * @throws SecretError INVALID_REQUEST when it would become too large, LOCAL_STORE_UNREADABLE
 */
export async function writeEncryptedStore(
  { store }: StoreFiles,
  { keys, document }: DecryptedStore,
): Promise<void> {
  const ciphertext = await encrypt(serializeDocument(document), keys[0]);
  if (ciphertext.length > maxStoreBytes)
    throw new SecretError(
      'INVALID_REQUEST',
      `the local store would become larger than ${maxStoreBytes / 1024} KiB`,
      {
        hint: 'remove secrets or old versions: `keyferry local rm NAME --version vN`; nothing was changed',
      },
    );
  await writeFileAtomically(store, ciphertext);
}
