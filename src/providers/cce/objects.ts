import { quoteForeign } from '../../errors/status-text.ts';
import type { FileRequest, Problem, SecretRef, Selector } from '../../plan/plan.ts';
import { readYamlList, type YamlMap } from '../../plan/yaml-list.ts';
import { fileOptionKeys, readFileOptions } from '../file-options.ts';
import { checkFileNames, type NamedFile, type Refuse, type Text } from '../file-names.ts';
import { filled, required } from '../object-fields.ts';
import { sayIn } from '../say.ts';
import { checkNames, type NamedObject } from './names.ts';

const parameter = 'objects';
const objectKeys = ['objectName', 'objectAlias', 'objectVersion', 'objectType', 'jmesPath', 'optional'];
const jmesPathKeys = ['path', 'objectAlias'];

type Reader = { readonly refuse: Refuse; readonly report: (problem: Problem) => void };
type CceObject = NamedObject & { readonly ref: SecretRef; readonly files: readonly NamedFile[] };

/** What to read and which files to make of it, by the parameter `objects` as users of the add-on write it. */
export function readObjects(
  text: string,
  report: (problem: Problem) => void,
): { readonly refs: readonly SecretRef[]; readonly files: readonly FileRequest[] } {
  const refuse = sayIn(parameter, report)('error');
  const maps = readYamlList(text, { parameter, report, keys: 'exact' });
  const objects = maps.map((map) => readObject(map, { refuse, report }));
  const files = objects.flatMap((object) => object.files);
  checkNames(objects, refuse);
  checkFileNames(files, refuse);
  return { refs: objects.map(({ ref }) => ref), files: files.map(({ request }) => request) };
}

function readObject(map: YamlMap, reader: Reader): CceObject {
  map.warnUnknown([...objectKeys, ...fileOptionKeys]);
  const name = readName(map, reader);
  const alias = filled(map, 'objectAlias');
  checkType(map, reader);
  const ref = { service: 'csms', name: name?.text ?? '', version: readVersion(map, reader) };
  const options = readFileOptions(map, parameter, reader.report);
  const optional = map.boolean('optional') === true && { optional: true };
  const file = ({ text, ...at }: Text, selector: Selector, own = options): NamedFile => ({
    at,
    request: { path: text, sources: { value: { ref, selector } }, ...own, ...optional },
  });

  const extracted = (map.list('jmesPath') ?? []).flatMap((entry) => {
    entry.warnUnknown([...jmesPathKeys, ...fileOptionKeys]);
    const own = readFileOptions(entry, parameter, reader.report, options);
    const key = required(entry, 'path', 'path is the key as it stands in the secret', reader.refuse);
    const path = filled(entry, 'objectAlias') ?? key;
    return key && path ? [file(path, { kind: 'key-or-jmespath', text: key.text }, own)] : [];
  });
  // With extracted keys the whole secret is written only where an alias asks for it.
  const whole = extracted.length > 0 ? alias : (alias ?? name);
  const files = whole ? [file(whole, { kind: 'whole' }), ...extracted] : extracted;
  return { where: map.where, ref, files, ...(name && { name }), ...(alias && { alias }) };
}

function readName(map: YamlMap, reader: Reader): Text | undefined {
  const name = required(map, 'objectName', 'objectName is the name of the secret in CSMS', reader.refuse);
  // `.` and `..` fit CSMS's pattern, but would lead to another address.
  if (name !== undefined && (!/^[a-zA-Z0-9_.-]{1,64}$/.test(name.text) || /^\.\.?$/.test(name.text)))
    reader.refuse(
      name,
      `objectName of ${map.where} is no name that CSMS allows: ${quoteForeign(name.text)}`,
      'names have 1 to 64 letters, digits, "_", "." and "-"',
    );
  return name;
}

function checkType(map: YamlMap, reader: Reader): void {
  const hint = 'write objectType: "csms"';
  const type = required(map, 'objectType', hint, reader.refuse);
  if (type !== undefined && type.text !== 'csms')
    reader.refuse(type, `objectType of ${map.where} is not known: ${quoteForeign(type.text)}`, hint);
}

function readVersion(map: YamlMap, reader: Reader): string {
  const hint = 'write objectVersion: "latest", or a version such as "v1"';
  const version = required(map, 'objectVersion', hint, reader.refuse);
  if (version !== undefined && !/^(latest|v[0-9]{1,10})$/.test(version.text))
    reader.refuse(
      version,
      `objectVersion of ${map.where} is no version of CSMS: ${quoteForeign(version.text)}`,
      hint,
    );
  return version?.text ?? '';
}
