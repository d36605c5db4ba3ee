import { quoteForeign } from '../../errors/status-text.ts';
import { checkFilePath, findPathClash } from '../../plan/file-path.ts';
import type { FileRequest } from '../../plan/plan.ts';

export type Position = { readonly line: number; readonly column: number };

/** A text and where it stands. */
export type Text = Position & { readonly text: string };

/** Takes down an error. */
export type Refuse = (at: Position, message: string, hint: string) => void;

/** An object's names, as far as they could be read. */
export type NamedObject = { readonly where: string; readonly name?: Text; readonly alias?: Text };

/** A file, and where its name stands. */
export type NamedFile = { readonly path: Text; readonly request: FileRequest };

/** The add-on's rules: names are unique, and an alias differs from every name, its own among them. */
export function checkNames(objects: readonly NamedObject[], refuse: Refuse): void {
  const byName = new Map<string, NamedObject>();
  for (const object of objects) {
    if (object.name === undefined) continue;
    const first = byName.get(object.name.text);
    if (first === undefined) byName.set(object.name.text, object);
    else
      refuse(
        object.name,
        `objectName of ${object.where} is that of ${first.where} too`,
        'list a secret once; jmesPath makes several files of one',
      );
  }
  for (const object of objects) {
    const named = object.alias && byName.get(object.alias.text);
    if (object.alias === undefined || named === undefined) continue;
    const whose = named === object ? 'its own objectName' : `the objectName of ${named.where}`;
    refuse(
      object.alias,
      `objectAlias of ${object.where} is ${whose}`,
      'choose another alias, or leave it out',
    );
  }
}

/** The driver's rules: clean paths, all different, none another's directory. That settles aliases among each other, too. */
export function checkPaths(files: readonly NamedFile[], refuse: Refuse): void {
  const hint = 'give it another name with objectAlias';
  const places = new Map<string, Position>();
  for (const { path } of files) {
    const fault = checkFilePath(path.text);
    if (fault !== undefined) refuse(path, `the file name ${quoteForeign(path.text)} ${fault}`, hint);
    const first = places.get(path.text);
    if (first === undefined) places.set(path.text, path);
    else refuse(path, `the file name ${quoteForeign(path.text)} is that of line ${first.line} too`, hint);
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
