import type { Refuse, Text } from '../file-names.ts';

/** An object's names, as far as they could be read. */
export type NamedObject = { readonly where: string; readonly name?: Text; readonly alias?: Text };

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
