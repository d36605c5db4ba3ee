import { readFile } from 'node:fs/promises';
import { SecretError, fileProblemOf } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { readClassFile } from '../lint/class-file.ts';
import type { SecretProviderClass } from '../lint/class-object.ts';
import type { Diagnostic } from '../lint/diagnostic.ts';
import { type ManifestSource, readManifests } from '../lint/manifests.ts';

/**
 * Reads the class to mount from a file: the class with the name, or the only one.
 * @throws SecretError for no class, several classes, or one that the API server would reject
 */
export async function readOneClass(
  file: string,
  name: string | undefined,
  source: ManifestSource,
): Promise<SecretProviderClass> {
  const allClasses: SecretProviderClass[] = [];
  for (const manifest of await readManifests([file], source)) {
    if (!('text' in manifest)) throw diagnosticError(manifest);
    const { classes, parseErrors } = readClassFile(manifest.file, manifest.text);
    if (parseErrors[0] !== undefined) throw diagnosticError(parseErrors[0]);
    allClasses.push(...classes);
  }
  const matches = allClasses.filter((spc) => name === undefined || spc.name === name);
  const [spc] = matches;
  if (spc === undefined || matches.length > 1) {
    const description =
      name === undefined
        ? 'SecretProviderClass'
        : `SecretProviderClass "${sanitizeUserText(name)}"`;
    const names = allClasses.map((each) => each.name).join(', ');
    throw new SecretError(
      'INVALID_REQUEST',
      `${sanitizeUserText(file)} holds ${matches.length === 0 ? 'no' : 'more than one'} ${description}`,
      {
        ...(allClasses.length > 0 && {
          hint: `choose with --class; it holds ${sanitizeUserText(names)}`,
        }),
      },
    );
  }
  const error = spc.diagnostics.find(({ severity }) => severity === 'error');
  if (error !== undefined) throw diagnosticError(error);
  return spc;
}

function diagnosticError({ place, message, remedy }: Diagnostic): SecretError {
  const hint = remedy === undefined ? {} : { hint: remedy };
  return new SecretError(
    'INVALID_REQUEST',
    `${sanitizeUserText(place.file)}:${place.line}: ${message}`,
    hint,
  );
}

/**
 * Reads `NAME=FILE` flags: the texts of the files by name, without a line break at the end.
 * @throws SecretError
 */
export async function readPairs(
  flag: string,
  pairs: readonly string[],
): Promise<Readonly<Record<string, string>>> {
  const texts: [string, string][] = [];
  for (const pair of pairs) {
    // An audience can be a URL that contains the sign.
    const separatorIndex = pair.lastIndexOf('=');
    if (separatorIndex < 1)
      throw new SecretError(
        'INVALID_REQUEST',
        `${flag} ${sanitizeUserText(pair)} is not NAME=FILE`,
        {
          hint: 'put the value into a file and give both',
        },
      );
    const file = pair.slice(separatorIndex + 1);
    try {
      texts.push([
        pair.slice(0, separatorIndex),
        (await readFile(file, 'utf8')).replace(/\r?\n$/, ''),
      ]);
    } catch (cause) {
      throw new SecretError(
        'INVALID_REQUEST',
        `${flag} cannot read ${sanitizeUserText(file)}: ${sanitizeUserText(fileProblemOf(cause))}`,
        { hint: 'give a file that this process can read', cause },
      );
    }
  }
  return Object.fromEntries(texts);
}
