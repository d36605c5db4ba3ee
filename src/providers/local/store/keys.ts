import { SecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import { type Identity, recipientOf } from './age.ts';
import {
  type StoreFile,
  describeFile,
  readRegularFile,
  writeFileAtomically,
} from './atomic-file.ts';

const maxKeyFileBytes = 64 * 1024;

/**
 * The keys of a store. The first one encrypts, and each of them can decrypt. Two during a rotation.
 */
export type Keys = readonly [Identity, ...Identity[]];

/**
 * Reads a key file in the form of `age-keygen`: one identity per line. Skips blank lines and lines
 * that begin with `#`.
 * @throws SecretError LOCAL_STORE_UNREADABLE, without the content of the file
 */
export async function readKeys(file: StoreFile): Promise<Keys> {
  const text = (await readRegularFile(file, maxKeyFileBytes)).toString('latin1');
  const lines = text.split('\n').map((line) => line.trim());
  const identities: Identity[] = [];
  for (const [index, line] of lines.entries()) {
    if (line === '' || line.startsWith('#')) continue;
    const identity = new Redacted(line);
    if (!(await isIdentity(identity)))
      throw invalidKeyFileError(file, `line ${index + 1} is not a key`);
    identities.push(identity);
  }
  const [first, ...others] = identities;
  if (first === undefined) throw invalidKeyFileError(file, 'it has no key');
  return [first, ...others];
}

/**
 * Replaces the key file atomically, mode 0600. The caller holds the write lock.
 * @throws SecretError LOCAL_STORE_UNREADABLE
 */
export async function writeKeys(file: StoreFile, keys: Keys, now: number): Promise<void> {
  const lines = [`# created: ${new Date(now).toISOString()}`];
  for (const key of keys) lines.push(`# public key: ${await recipientOf(key)}`, key.reveal());
  await writeFileAtomically(file, Buffer.from(`${lines.join('\n')}\n`));
}

async function isIdentity(identity: Identity): Promise<boolean> {
  if (!identity.reveal().startsWith('AGE-SECRET-KEY-1')) return false;
  return recipientOf(identity).then(
    () => true,
    () => false,
  );
}

function invalidKeyFileError(file: StoreFile, cause: string): SecretError {
  return new SecretError(
    'LOCAL_STORE_UNREADABLE',
    `cannot read the ${describeFile(file)}: ${cause}`,
    {
      hint: 'a key file holds lines AGE-SECRET-KEY-1..., as `keyferry local init` and `age-keygen` write them',
    },
  );
}
