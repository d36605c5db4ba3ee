import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { SecretError, fileProblemOf } from '../../core/errors.ts';
import { Redacted } from '../../core/redacted.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';

/** Where a credential comes from. */
export type CredentialSource =
  | { readonly from: 'argument'; readonly value: Redacted }
  | { readonly from: 'stdin' }
  | { readonly from: 'file'; readonly path: string };

/** The largest token that a store has is a JWT of a few KiB. */
const maxBytes = 65_536;

/**
 * Reads a credential. A line break at its end is not part of it.
 * @param flag its name in errors
 * @throws SecretError INVALID_REQUEST; no message has the credential in it
 */
export async function readCredential(
  source: CredentialSource,
  flag: string,
  stdin: Readable & { readonly isTTY?: boolean },
): Promise<Redacted> {
  const text = (await readSource(source, flag, stdin)).replace(/\r?\n$/, '');
  const fault =
    text === ''
      ? 'is empty'
      : // eslint-disable-next-line no-control-regex -- these are the characters to find
        /[\u0000-\u0020\u007f]/.test(text)
        ? 'has a blank, a line break or a control character in it'
        : undefined;
  if (fault === undefined) return new Redacted(text);
  throw new SecretError('INVALID_REQUEST', `${flag} ${fault}`, {
    hint: 'check that it is the whole credential and nothing else',
  });
}

async function readSource(
  source: CredentialSource,
  flag: string,
  stdin: Readable & { readonly isTTY?: boolean },
): Promise<string> {
  if (source.from === 'argument') return limited(Buffer.from(source.value.reveal()), flag);
  if (source.from === 'file') return limited(await readBounded(source.path, flag), flag);
  if (stdin.isTTY === true)
    throw new SecretError('INVALID_REQUEST', `${flag} is read from standard input, a terminal`, {
      hint: `pipe it in: printf %s "$SECRET" | sudo docker dso init ... ${flag} -`,
    });
  return limited(await readAll(stdin), flag);
}

function limited(bytes: Buffer, flag: string): string {
  if (bytes.length <= maxBytes) return bytes.toString();
  throw new SecretError('INVALID_REQUEST', `${flag} has more than 64 KiB`, {
    hint: 'check that it is the right file',
  });
}

async function readAll(stdin: Readable): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of stdin) {
    const bytes = Buffer.from(piece as Uint8Array | string);
    pieces.push(bytes);
    length += bytes.length;
    if (length > maxBytes) break;
  }
  return Buffer.concat(pieces);
}

/** A pipe without a writer does not block: `<(command)` of a shell has one. */
async function readBounded(path: string, flag: string): Promise<Buffer> {
  try {
    const handle = await open(path, constants.O_RDONLY);
    try {
      return await readAll(handle.createReadStream({ autoClose: false, end: maxBytes }));
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw new SecretError(
      'INVALID_REQUEST',
      `cannot read ${sanitizeUserText(path)}: ${fileProblemOf(cause)}`,
      { hint: `give ${flag}-file a file that you can read`, cause },
    );
  }
}
