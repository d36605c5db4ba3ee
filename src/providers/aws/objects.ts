import { refKey, type FileRequest, type SecretRef } from '../../plan/plan.ts';
import { readYamlList } from '../../plan/yaml-list.ts';
import { checkFileNames, type NamedFile } from '../file-names.ts';
import { fileOptionKeys } from '../file-options.ts';
import { readJmesPathFiles, type FilesReader } from '../jmespath-files.ts';
import { required } from '../object-fields.ts';
import { sayIn } from '../say.ts';
import { readRef } from './object-ref.ts';
import type { RefReader } from './ref-reader.ts';

const objectKeys = [
  'objectName',
  'objectType',
  'objectAlias',
  'objectVersion',
  'objectVersionLabel',
  'failoverObject',
  'jmesPath',
  'optional',
  ...fileOptionKeys,
];

/** What stands around the objects of a class. */
export type ObjectsContext = Pick<RefReader, 'region' | 'failoverRegion'> & Omit<FilesReader, 'refuse'>;

/** What to read and which files to make of it, by the parameter `objects` as users of AWS's provider write it. */
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
  for (const map of readYamlList(text, { parameter, report, keys: 'any-case' })) {
    map.warnUnknown(objectKeys);
    const name = required(map, 'objectName', 'objectName is the name of the secret', reader.refuse);
    const read = readRef(map, name, reader);
    const key = [read, ...(read.fallbacks ?? [])].map(refKey).join(' ');
    const ref = refs.get(key) ?? read;
    refs.set(key, ref);
    files.push(...readJmesPathFiles(map, name, ref, reader));
  }
  checkFileNames(files, reader.refuse);
  return { refs: [...refs.values()], files: files.map(({ request }) => request) };
}
