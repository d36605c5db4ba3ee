import { quoteForeign } from '../errors/status-text.ts';
import { checkFilePath, findPathClash } from '../plan/file-path.ts';
import type { FileRequest } from '../plan/plan.ts';

export type Position = { readonly line: number; readonly column: number };

/** A text and where it stands. */
export type Text = Position & { readonly text: string };

/** Takes down an error. */
export type Refuse = (at: Position, message: string, hint?: string) => void;

/** A file, and where its name stands. */
export type NamedFile = { readonly at: Position; readonly request: FileRequest };

/** The driver's rules: clean paths, all different, none another's directory. */
export function checkFileNames(
  files: readonly NamedFile[],
  refuse: Refuse,
  hint = 'give it another name with objectAlias',
): void {
  const places = new Map<string, Position>();
  for (const { at, request } of files) {
    const { path } = request;
    const fault = checkFilePath(path);
    if (fault !== undefined) refuse(at, `the file name ${quoteForeign(path)} ${fault}`, hint);
    const first = places.get(path);
    if (first === undefined) places.set(path, at);
    else refuse(at, `the file name ${quoteForeign(path)} is that of line ${first.line} too`, hint);
  }
  const [parent = '', child = ''] = findPathClash(places.keys()) ?? [];
  const at = places.get(child);
  if (at !== undefined)
    refuse(
      at,
      `the file ${quoteForeign(child)} would lie below ${quoteForeign(parent)}, a file itself`,
      hint,
    );
}
