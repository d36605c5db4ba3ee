import type * as Age from 'age-encryption';
import { SecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import { type StoreFile, describeFile } from './atomic-file.ts';

/** A private key as text, `AGE-SECRET-KEY-1...`. */
export type Identity = Redacted;

// Loads the library on first use, so a server without a local store does not pay for it.
const loadAge = async (): Promise<typeof Age> => import('age-encryption');

/** Makes an X25519 key. */
export async function generateIdentity(): Promise<Identity> {
  const age = await loadAge();
  return new Redacted(await age.generateX25519Identity());
}

/**
 * Returns the public key: `age1...`.
 * @throws Error if the identity is not a valid key
 */
export async function recipientOf(identity: Identity): Promise<string> {
  const age = await loadAge();
  return age.identityToRecipient(identity.reveal());
}

/** Makes an age file (binary, X25519) for one identity. */
export async function encrypt(plaintext: Uint8Array, identity: Identity): Promise<Uint8Array> {
  const age = await loadAge();
  const encrypter = new age.Encrypter();
  encrypter.addRecipient(await recipientOf(identity));
  return encrypter.encrypt(plaintext);
}

/**
 * Returns the plaintext of an age file.
 * @throws SecretError LOCAL_STORE_UNREADABLE, with different messages for a wrong key and a damaged
 *   file
 */
export async function decrypt(
  file: StoreFile,
  ciphertext: Uint8Array,
  identities: readonly Identity[],
): Promise<Uint8Array> {
  if (ciphertext.length === 0) throw damagedFileError(file, 'it is empty');
  const age = await loadAge();
  const decrypter = new age.Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity.reveal());
  try {
    return await decrypter.decrypt(ciphertext);
  } catch (thrown) {
    throw decryptionError(file, thrown);
  }
}

/** age-encryption has no error codes. Its messages are fixed texts, and none contains plaintext. */
function decryptionError(file: StoreFile, thrown: unknown): SecretError {
  const text = thrown instanceof Error ? thrown.message : '';
  if (text.startsWith('no identity matched'))
    return new SecretError(
      'LOCAL_STORE_UNREADABLE',
      `the ${describeFile(file)} is not encrypted for this key`,
      {
        hint: 'name its own key with --key; if this is its key, the file is damaged: restore it from a backup',
        cause: thrown,
      },
    );
  if (text.startsWith('invalid version'))
    return damagedFileError(file, 'it is not a (binary) age file', thrown);
  return damagedFileError(file, 'it is truncated or was tampered with', thrown);
}

function damagedFileError(file: StoreFile, cause: string, thrown?: unknown): SecretError {
  return new SecretError(
    'LOCAL_STORE_UNREADABLE',
    `cannot decrypt the ${describeFile(file)}: ${cause}`,
    {
      hint: 'restore it from a backup',
      cause: thrown,
    },
  );
}
