import { lstat, readFile, realpath, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative } from 'node:path';
import { errorCodeOf, fileProblemOf } from '../../core/errors.ts';
import { isThere } from '../../files/is-there.ts';
import { readYamlDocuments } from '../../formats/yaml.ts';

/** A text file of an application that can be changed. */
export type SourceFile = {
  /** Without links. */
  readonly path: string;
  /** As messages show it. */
  readonly name: string;
  readonly kind: 'compose' | 'env' | 'dso.yaml';
  /** With its byte order mark and its line breaks. */
  readonly text: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Why the file must not be changed, as words that follow its name. */
  readonly fault?: string;
};

const maxBytes = 1_048_576;

/** The directory in which files may be changed: the repository, or the project's directory. */
export async function findRoot(directory: string): Promise<string> {
  const own = await realpath(directory);
  for (let folder = own; ; folder = dirname(folder)) {
    if (await isThere(join(folder, '.git'))) return folder;
    if (folder === dirname(folder)) return own;
  }
}

/** Whether a path is a directory, or below it. */
export function isWithin(path: string, directory: string): boolean {
  const name = relative(directory, path);
  return name !== '..' && !name.startsWith('../') && !isAbsolute(name);
}

/**
 * Reads a file.
 * @returns undefined if it does not exist; with a `fault`, and perhaps without a text, if it
 *   cannot be changed
 */
export async function readSourceFile(
  path: string,
  name: string,
  kind: SourceFile['kind'],
  root: string,
): Promise<SourceFile | undefined> {
  const nothing = { path, name, kind, text: '', mode: 0, uid: 0, gid: 0 };
  try {
    const real = await realpath(path);
    const found = await stat(real);
    const file = {
      ...nothing,
      path: real,
      mode: found.mode & 0o777,
      uid: found.uid,
      gid: found.gid,
    };
    if (!found.isFile()) return { ...file, fault: 'is no regular file' };
    if (found.size > maxBytes) return { ...file, fault: 'has more than 1 MiB' };
    const text = decode(await readFile(real));
    if (text === undefined) return { ...file, fault: 'is no text in UTF-8' };
    const fault =
      (await placeFault(path, real, root)) ??
      ((found.mode & 0o222) === 0 ? 'is read-only' : undefined);
    if (kind !== 'env') {
      const problem = readYamlDocuments(text)
        .flatMap(({ problems }) => problems)
        .find(({ kind: problemKind }) => problemKind !== 'content');
      if (problem !== undefined)
        return { ...file, fault: `is not YAML that can be changed (line ${problem.at.line})` };
    }
    return { ...file, text, ...(fault !== undefined && { fault }) };
  } catch (thrown) {
    if (errorCodeOf(thrown) === 'ENOENT') return undefined;
    return { ...nothing, fault: `cannot be read: ${fileProblemOf(thrown)}` };
  }
}

async function placeFault(path: string, real: string, root: string): Promise<string | undefined> {
  if (isWithin(real, root)) return undefined;
  const isLink = (await lstat(path)).isSymbolicLink();
  return isLink ? 'is a link to a file outside of the project' : 'is outside of the project';
}

/** Undefined for bytes that are no text. */
function decode(bytes: Buffer): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    // eslint-disable-next-line no-control-regex -- these are what tells a binary file
    return /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}
