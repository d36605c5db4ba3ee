import { SecretError } from '../../../core/errors.ts';
import { decrypt, encrypt } from './age.ts';
import { type StoreDocument, serializeDocument, parseDocument } from './document.ts';
import { type StoreFile, readRegularFile, writeFileAtomically } from './atomic-file.ts';
import { type Keys, readKeys } from './keys.ts';

/** The maximum size of a store file, in bytes. Keyferry keeps the whole file in memory. */
export const maxStoreBytes = 8 * 1024 * 1024;

/** The paths of the two files of a local store. */
export type StorePaths = { readonly storeFile: string; readonly keyFile: string };

/** The two files of a local store. */
export type StoreFiles = { readonly store: StoreFile; readonly key: StoreFile };

/** Gives the two files their names for messages. */
export function toStoreFiles({ storeFile, keyFile }: StorePaths): StoreFiles {
  return {
    store: { label: 'local store', path: storeFile },
    key: { label: 'key of the local store', path: keyFile },
  };
}

/** The content of a store, and its keys. */
export type DecryptedStore = { readonly keys: Keys; readonly document: StoreDocument };

/**
 * Reads and decrypts a store.
 * @throws SecretError LOCAL_STORE_UNREADABLE
 */
export async function readEncryptedStore({ store, key }: StoreFiles): Promise<DecryptedStore> {
  let keys = await readKeys(key);
  for (;;) {
    const ciphertext = await readRegularFile(store, maxStoreBytes);
    try {
      return { keys, document: parseDocument(await decrypt(store, ciphertext, keys)) };
    } catch (thrown) {
      // A rotation between the two reads has replaced both files.
      const currentKeys = await readKeys(key);
      if (areEqual(keys, currentKeys)) throw thrown;
      keys = currentKeys;
    }
  }
}

function areEqual(keys: Keys, others: Keys): boolean {
  return (
    keys.length === others.length &&
    keys.every((key, index) => key.reveal() === others[index]?.reveal())
  );
}

/**
 * Encrypts a store for the first of its keys and replaces the file atomically. The caller holds the
 * write lock.
 * @throws SecretError INVALID_REQUEST if the file would become too large, LOCAL_STORE_UNREADABLE
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
