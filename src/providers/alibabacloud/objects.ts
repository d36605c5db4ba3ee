import { refKey, type FileRequest, type SecretRef } from '../../plan/plan.ts';
import { readYamlList, type YamlMap } from '../../plan/yaml-list.ts';
import { checkFileNames, type NamedFile, type Text } from '../file-names.ts';
import { fileOptionKeys } from '../file-options.ts';
import { readJmesPathFiles } from '../jmespath-files.ts';
import { required } from '../object-fields.ts';
import { sayIn } from '../say.ts';
import type { ObjectsContext, Reader } from './object-reader.ts';
import { readRef } from './object-ref.ts';

const objectKeys = [
  'objectName',
  'objectAlias',
  'objectType',
  'objectVersion',
  'objectVersionLabel',
  'kmsEndpoint',
  'crossAccountRoleArn',
  'jmesPath',
  'optional',
  ...fileOptionKeys,
];

/** An item of the list, and its type where that stands in the next item. */
type Item = { readonly map: YamlMap; type?: Text | undefined };

/** What to read and which files to make of it, by the parameter `objects` as users of the vendor's provider write it. */
export function readObjects(
  text: string,
  context: ObjectsContext,
): { readonly refs: readonly SecretRef[]; readonly files: readonly FileRequest[] } {
  const { parameter, report } = context;
  const say = sayIn(parameter, report);
  const reader = { ...context, refuse: say('error'), warn: say('warning') };
  // One secret may stand there twice, for files of different names; what asks the same is one ref.
  const refs = new Map<string, SecretRef>();
  const files: NamedFile[] = [];
  for (const { map, type } of joinItems(
    readYamlList(text, { parameter, report, keys: 'any-case' }),
    reader,
  )) {
    map.warnUnknown(objectKeys);
    const name = required(map, 'objectName', 'objectName is the name of the secret', reader.refuse);
    const read = readRef(map, name, type, reader);
    const ref = refs.get(refKey(read)) ?? read;
    refs.set(refKey(ref), ref);
    files.push(...readJmesPathFiles(map, name, ref, reader));
  }
  checkFileNames(files, reader.refuse);
  return { refs: [...refs.values()], files: files.map(({ request }) => request) };
}

/** The vendor's guide prints `- objectName: "test"` and `- objectType: "kms"` as two items and means one. */
function joinItems(maps: readonly YamlMap[], { warn }: Reader): readonly Item[] {
  const items: Item[] = [];
  for (const map of maps) {
    const last = items.at(-1);
    const completes =
      isTypeAlone(map) &&
      last?.map.index === map.index - 1 &&
      last.map.has('objectName') &&
      !last.map.has('objectType') &&
      last.type === undefined;
    if (!completes) {
      items.push({ map });
      continue;
    }
    map.warnUnknown(objectKeys);
    last.type = map.scalar('objectType');
    warn(
      map.position,
      `${map.where} has an objectType alone; it is taken for that of ${last.map.where}`,
      'write both without the second "-"',
    );
  }
  return items;
}

function isTypeAlone(map: YamlMap): boolean {
  return map.has('objectType') && objectKeys.every((key) => key === 'objectType' || !map.has(key));
}
