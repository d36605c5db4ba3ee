import { quoteForeign } from '../../errors/status-text.ts';
import { refKey, type FileRequest, type Problem, type SecretRef, type Selector } from '../../plan/plan.ts';
import { readYamlList, type YamlMap } from '../../plan/yaml-list.ts';
import { checkFileNames, type NamedFile, type Refuse, type Text } from '../file-names.ts';
import { fileOptionKeys, readFileOptions } from '../file-options.ts';
import { filled, required } from '../object-fields.ts';
import { sayIn } from '../say.ts';
import { checkSecretName, versionNumber } from './secret-name.ts';

const parameter = 'objects';
const objectKeys = ['objectName', 'objectAlias', 'objectVersion', 'jmesPath', 'optional', ...fileOptionKeys];
const selectionKeys = ['path', 'objectAlias', ...fileOptionKeys];

type Report = (problem: Problem) => void;

/** What to read and which files to make of it. All problems are told at once: an object with a fault is still read to its end. */
export function readObjects(
  text: string,
  report: Report,
): { readonly refs: readonly SecretRef[]; readonly files: readonly FileRequest[] } {
  const refuse = sayIn(parameter, report)('error');
  // One secret may stand there twice, in two versions or for two files; what asks the same is one ref.
  const refs = new Map<string, SecretRef>();
  const files: NamedFile[] = [];
  for (const object of readYamlList(text, { parameter, report, keys: 'exact' })) {
    object.warnUnknown(objectKeys);
    const read = readRef(object, refuse);
    const ref = refs.get(refKey(read)) ?? read;
    refs.set(refKey(ref), ref);
    files.push(...readFiles(object, ref, { refuse, report }));
  }
  checkFileNames(files, refuse);
  return { refs: [...refs.values()], files: files.map(({ request }) => request) };
}

/** The name is empty where it was faulty. */
function readRef(object: YamlMap, refuse: Refuse): SecretRef {
  const name = required(object, 'objectName', 'objectName is the name of the secret', refuse);
  const fault = checkSecretName(name?.text ?? '');
  if (name !== undefined && fault !== undefined) refuse(name, `objectName of ${object.where} ${fault}`);

  const version = filled(object, 'objectVersion');
  const pinned = version !== undefined && version.text !== 'latest';
  if (pinned && versionNumber(version.text) === undefined)
    refuse(
      version,
      `objectVersion of ${object.where} is unknown: ${quoteForeign(version.text)}`,
      'use latest, v1, v2, ...',
    );
  return {
    service: 'local',
    name: fault === undefined ? (name?.text ?? '') : '',
    ...(pinned && { version: version.text }),
  };
}

function readFiles(
  object: YamlMap,
  ref: SecretRef,
  { refuse, report }: { readonly refuse: Refuse; readonly report: Report },
): readonly NamedFile[] {
  const options = readFileOptions(object, parameter, report);
  const optional = object.boolean('optional') === true && { optional: true };
  const file = ({ text: path, ...at }: Text, selector: Selector, own = options): NamedFile => ({
    request: { path, sources: { value: { ref, selector } }, ...own, ...optional },
    at,
  });
  const selections = object.list('jmesPath') ?? [];
  const selected = selections.flatMap((selection) => {
    selection.warnUnknown([...selectionKeys]);
    const own = readFileOptions(selection, parameter, report, options);
    const path = required(selection, 'path', 'path is a key of the secret, or JMESPath', refuse);
    if (path === undefined) return [];
    const alias = filled(selection, 'objectAlias') ?? path;
    return [file(alias, { kind: 'key-or-jmespath', text: path.text }, own)];
  });
  // With selections the whole secret is written only where an alias asks for it.
  const whole =
    filled(object, 'objectAlias') ??
    (selections.length > 0 || ref.name === '' ? undefined : filled(object, 'objectName'));
  return whole === undefined ? selected : [file(whole, { kind: 'whole' }), ...selected];
}
