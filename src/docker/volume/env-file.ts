import { isUtf8 } from 'node:buffer';
import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';

/**
 * The longest `NAME=value` with which Linux starts a program, in bytes. With its NUL byte it has
 * MAX_ARG_STRLEN, 32 pages of 4 KiB (execve(2)).
 */
const maxEntryBytes = 131_071;

const asFile = { hint: 'use dsofile:// for it' };

/**
 * The content of the file from which the shim takes the variables of a container (shim/): an entry
 * `NAME=value` for each variable, each ended by a NUL byte, in the order of the map. The shim
 * refuses a file that is cut off within an entry, but it cannot see a cut between two entries. So
 * write the file under another name, and rename it.
 *
 * @param variables the value of each variable, in UTF-8
 * @throws SecretError INVALID_REQUEST for a name that no variable can have, INVALID_ENCODING for a
 *   value with a NUL byte or not in UTF-8, RESPONSE_TOO_LARGE for an entry of 131,072 bytes or more
 */
export function envFile(variables: ReadonlyMap<string, Uint8Array>): Buffer {
  return Buffer.concat([...variables].flatMap(([name, value]) => entryOf(name, value)));
}

function entryOf(name: string, value: Uint8Array): readonly Uint8Array[] {
  const named = `the environment variable ${sanitizeUserText(name)}`;
  // Engines allow every other name, such as `spring.datasource.password`. So does the shim.
  // eslint-disable-next-line no-control-regex
  if (!/^[^=\0-\x1f\x7f]+$/.test(name) || !name.isWellFormed())
    throw new SecretError(
      'INVALID_REQUEST',
      `${named} has an invalid name: it is empty, or has "=" or a control character`,
      { hint: 'rename it' },
    );
  if (value.includes(0) || !isUtf8(value))
    throw new SecretError(
      'INVALID_ENCODING',
      `${named} cannot hold a binary value: it ${value.includes(0) ? 'has a NUL byte' : 'is not UTF-8'}`,
      asFile,
    );
  const start = Buffer.from(`${name}=`);
  const bytes = start.length + value.length;
  if (bytes > maxEntryBytes)
    throw new SecretError(
      'RESPONSE_TOO_LARGE',
      `${named} has ${bytes} bytes with its name, and a program starts with at most ${maxEntryBytes}`,
      asFile,
    );
  return [start, value, Buffer.of(0)];
}
