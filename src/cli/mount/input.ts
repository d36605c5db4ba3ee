import { readFile } from 'node:fs/promises';
import { SecretError } from '../../core/errors.ts';
import { quoteForeign } from '../../core/safe-text.ts';
import { readClassFile } from '../lint/class-file.ts';
import type { SecretProviderClass } from '../lint/class-object.ts';
import type { Finding } from '../lint/finding.ts';
import { readManifests } from '../lint/manifests.ts';

/**
 * The class to mount out of a file: the one of that name, or the only one.
 * @throws SecretError where there is none, several, or one that the API server would refuse
 */
export async function readOneClass(
  file: string,
  name: string | undefined,
  stdin: AsyncIterable<Buffer>,
): Promise<SecretProviderClass> {
  const found: SecretProviderClass[] = [];
  for (const manifest of await readManifests([file], stdin)) {
    if (!('text' in manifest)) throw refused(manifest);
    const { classes, unreadable } = readClassFile(manifest.file, manifest.text);
    if (unreadable[0] !== undefined) throw refused(unreadable[0]);
    found.push(...classes);
  }
  const fitting = found.filter((spc) => name === undefined || spc.name === name);
  const [spc] = fitting;
  if (spc === undefined || fitting.length > 1) {
    const what = name === undefined ? 'SecretProviderClass' : `SecretProviderClass "${quoteForeign(name)}"`;
    const names = found.map((each) => each.name).join(', ');
    throw new SecretError(
      'INVALID_REQUEST',
      `${quoteForeign(file)} holds ${fitting.length === 0 ? 'no' : 'more than one'} ${what}`,
      {
        ...(found.length > 0 && { hint: `choose with --class; it holds ${quoteForeign(names)}` }),
      },
    );
  }
  if (spc.findings[0] !== undefined) throw refused(spc.findings[0]);
  return spc;
}

function refused({ place, message, remedy }: Finding): SecretError {
  const hint = remedy === undefined ? {} : { hint: remedy };
  return new SecretError('INVALID_REQUEST', `${quoteForeign(place.file)}:${place.line}: ${message}`, hint);
}

/** Reads `NAME=FILE` flags: the files' texts by name, without the line break at their ends. @throws SecretError */
export async function readPairs(
  flag: string,
  pairs: readonly string[],
): Promise<Readonly<Record<string, string>>> {
  const texts: [string, string][] = [];
  for (const pair of pairs) {
    // Audiences are URLs at times, and may hold the sign themselves.
    const split = pair.lastIndexOf('=');
    if (split < 1)
      throw new SecretError('INVALID_REQUEST', `${flag} ${quoteForeign(pair)} is no NAME=FILE`, {
        hint: 'put the value into a file and name both',
      });
    const file = pair.slice(split + 1);
    try {
      texts.push([pair.slice(0, split), (await readFile(file, 'utf8')).replace(/\r?\n$/, '')]);
    } catch (cause) {
      const { code = 'unknown error' } = cause as NodeJS.ErrnoException;
      throw new SecretError(
        'INVALID_REQUEST',
        `${flag} cannot read ${quoteForeign(file)}: ${quoteForeign(code)}`,
        { hint: 'give a file that this process may read', cause },
      );
    }
  }
  return Object.fromEntries(texts);
}
