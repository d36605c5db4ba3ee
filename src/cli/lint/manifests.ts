import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileProblemOf } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Diagnostic } from './diagnostic.ts';

/** A file's name as diagnostics show it, and its text; or why it could not be read. */
export type Manifest = { readonly file: string; readonly text: string } | Diagnostic;

/**
 * Reads the inputs of a command line: files, `-` for standard input (called `<stdin>`), and
 * directories. In a directory it reads all `.yaml`, `.yml` and `.json` files that mention a
 * SecretProviderClass, except in hidden directories and node_modules.
 */
export async function readManifests(
  names: readonly string[],
  stdin: AsyncIterable<Buffer>,
): Promise<Manifest[]> {
  const manifests: Manifest[] = [];
  for (const name of names) {
    try {
      if (name === '-') manifests.push({ file: '<stdin>', text: await text(stdin) });
      else if ((await stat(name)).isDirectory()) manifests.push(...(await readDirectory(name)));
      else manifests.push({ file: name, text: await readFile(name, 'utf8') });
    } catch (error) {
      manifests.push({
        place: { file: name, line: 1, column: 1 },
        severity: 'error',
        message: `cannot be read: ${sanitizeUserText(fileProblemOf(error))}`,
        remedy: 'give a file, a directory, or - for standard input',
      });
    }
  }
  return manifests;
}

async function readDirectory(directory: string): Promise<Manifest[]> {
  const manifests: Manifest[] = [];
  const entries = await readdir(directory, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const file = join(directory, entry.name);
    if (entry.isDirectory()) {
      if (!/^(\.|node_modules$)/.test(entry.name)) manifests.push(...(await readDirectory(file)));
    } else if (/\.(ya?ml|json)$/.test(entry.name)) {
      const content = await readFile(file, 'utf8');
      if (content.includes('SecretProviderClass')) manifests.push({ file, text: content });
    }
  }
  return manifests;
}
