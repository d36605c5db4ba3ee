import type { Stats } from 'node:fs';
import { readFile, readdir, stat } from 'node:fs/promises';
import { devNull } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { fileProblemOf } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { decodeManifest, mentionsClass } from './decode.ts';
import type { Diagnostic } from './diagnostic.ts';

/** A file's name as diagnostics show it, and its text; or why it could not be read. */
export type Manifest = { readonly file: string; readonly text: string } | Diagnostic;

/** Where manifests come from besides files, and where notices go. */
export type ManifestSource = {
  readonly stdin: AsyncIterable<Buffer> & { readonly isTTY?: boolean };
  /** Receives a line for the user, such as that an input is waited for. */
  readonly notice: (line: string) => void;
};

/**
 * Reads the inputs of a command line: files, `-` for standard input (called `<stdin>`), and
 * directories. In a directory it reads all `.yaml`, `.yml` and `.json` files that mention a
 * SecretProviderClass, except in hidden directories and node_modules. The text of a file that does
 * not mention one is left empty: large files of other content cost little.
 */
export async function readManifests(
  names: readonly string[],
  source: ManifestSource,
): Promise<Manifest[]> {
  const manifests: Manifest[] = [];
  for (const name of names) manifests.push(...(await readInput(name, source)));
  return manifests;
}

async function readInput(name: string, { stdin, notice }: ManifestSource): Promise<Manifest[]> {
  try {
    if (name === '-') {
      if (stdin.isTTY === true) notice('waiting for standard input, a terminal; end it with ^D');
      return [toManifest('<stdin>', await buffer(stdin))];
    }
    const stats = await stat(name);
    if (stats.isDirectory()) return await readDirectory(name);
    if (isWaitedFor(name, stats)) notice(`waiting for ${sanitizeUserText(name)}, which is no file`);
    return [toManifest(name, await readFile(name))];
  } catch (error) {
    return [unreadable(name, error)];
  }
}

/** Whether reading can wait for a writer: a FIFO, or a device such as a terminal. */
function isWaitedFor(name: string, stats: Stats): boolean {
  return name !== devNull && (stats.isFIFO() || stats.isCharacterDevice());
}

async function readDirectory(directory: string): Promise<Manifest[]> {
  const manifests: Manifest[] = [];
  const entries = await readdir(directory, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const file = join(directory, entry.name);
    if (entry.isDirectory()) {
      if (!/^(\.|node_modules$)/.test(entry.name))
        manifests.push(...(await readSubdirectory(file)));
    } else if (/\.(ya?ml|json)$/i.test(entry.name)) manifests.push(...(await readCandidate(file)));
  }
  return manifests;
}

async function readSubdirectory(directory: string): Promise<Manifest[]> {
  try {
    return await readDirectory(directory);
  } catch (error) {
    return [unreadable(directory, error)];
  }
}

/** A file of a directory, if it mentions a class. Symbolic links to files are followed. */
async function readCandidate(file: string): Promise<Manifest[]> {
  try {
    if (!(await stat(file)).isFile()) return [];
    const bytes = await readFile(file);
    return mentionsClass(bytes) ? [toManifest(file, bytes)] : [];
  } catch (error) {
    return [unreadable(file, error)];
  }
}

function toManifest(file: string, bytes: Buffer): Manifest {
  if (!mentionsClass(bytes)) return { file, text: '' };
  const decoded = decodeManifest(bytes);
  if ('text' in decoded) return { file, text: decoded.text };
  const { problem, line } = decoded;
  return problemOf(file, line, `cannot be read: it ${problem}`, 'save it as UTF-8');
}

function unreadable(file: string, error: unknown): Diagnostic {
  const remedy = 'give a file, a directory, or - for standard input';
  const message = `cannot be read: ${sanitizeUserText(fileProblemOf(error))}`;
  return problemOf(file, 1, message, remedy);
}

function problemOf(file: string, line: number, message: string, remedy: string): Diagnostic {
  const place = { file, line, column: 1 };
  return { place, severity: 'error', message, remedy };
}
