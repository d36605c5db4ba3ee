import { quoteForeign } from '../../errors/status-text.ts';
import { checkFilePath, findPathClash } from '../../plan/file-path.ts';
import { refKey, type FileRequest, type Problem, type SecretRef, type Selector } from '../../plan/plan.ts';
import { readYamlList, type YamlMap, type YamlScalar } from '../../plan/yaml-list.ts';
import { fileOptionKeys, readFileOptions } from '../file-options.ts';
import { checkSecretName, versionNumber } from './secret-name.ts';

const parameter = 'objects';
const objectKeys = ['objectName', 'objectAlias', 'objectVersion', 'jmesPath', 'optional', ...fileOptionKeys];
const selectionKeys = ['path', 'objectAlias', ...fileOptionKeys];

type Report = (problem: Problem) => void;
type Position = { readonly line: number; readonly column: number };
type File = { readonly request: FileRequest; readonly at: Position };

/** What to read and which files to make of it. All problems are told at once: an object with a fault is still read to its end. */
export function readObjects(
  text: string,
  report: Report,
): { readonly refs: readonly SecretRef[]; readonly files: readonly FileRequest[] } {
  // One secret may stand there twice, in two versions or for two files; what asks the same is one ref.
  const refs = new Map<string, SecretRef>();
  const files: File[] = [];
  for (const object of readYamlList(text, { parameter, report, keys: 'exact' })) {
    object.warnUnknown(objectKeys);
    const read = readRef(object, report);
    const ref = refs.get(refKey(read)) ?? read;
    refs.set(refKey(ref), ref);
    files.push(...readFiles(object, ref, report));
  }
  for (const { request, at } of files) {
    const fault = checkFilePath(request.path);
    if (fault !== undefined) refuse(report, at, `the file path ${quoteForeign(request.path)} ${fault}`);
  }
  checkClash(files, report);
  return { refs: [...refs.values()], files: files.map(({ request }) => request) };
}

/** The name is empty where it was faulty. */
function readRef(object: YamlMap, report: Report): SecretRef {
  const name = filled(object, 'objectName');
  const fault = checkSecretName(name?.text ?? '');
  if (name === undefined)
    refuse(
      report,
      object.position,
      `${object.where} has no objectName`,
      'objectName is the name of the secret',
    );
  else if (fault !== undefined) refuse(report, name, `objectName of ${object.where} ${fault}`);

  const version = filled(object, 'objectVersion');
  const pinned = version !== undefined && version.text !== 'latest';
  if (pinned && versionNumber(version.text) === undefined)
    refuse(
      report,
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

function readFiles(object: YamlMap, ref: SecretRef, report: Report): readonly File[] {
  const options = readFileOptions(object, parameter, report);
  const optional = object.boolean('optional') === true && { optional: true };
  const file = ({ text: path, ...at }: Text, selector: Selector, own = options): File => ({
    request: { path, sources: { value: { ref, selector } }, ...own, ...optional },
    at,
  });
  const selections = object.list('jmesPath') ?? [];
  const selected = selections.flatMap((selection) => {
    selection.warnUnknown([...selectionKeys]);
    const own = readFileOptions(selection, parameter, report, options);
    const path = filled(selection, 'path');
    if (path === undefined) {
      refuse(
        report,
        selection.position,
        `${selection.where} has no path`,
        'path is a key of the secret, or JMESPath',
      );
      return [];
    }
    const alias = filled(selection, 'objectAlias') ?? path;
    return [file(alias, { kind: 'key-or-jmespath', text: path.text }, own)];
  });
  // With selections the whole secret is written only where an alias asks for it.
  const whole =
    filled(object, 'objectAlias') ??
    (selections.length > 0 || ref.name === '' ? undefined : filled(object, 'objectName'));
  return whole === undefined ? selected : [file(whole, { kind: 'whole' }), ...selected];
}

function checkClash(files: readonly File[], report: Report): void {
  const clash = findPathClash(files.map(({ request }) => request.path));
  if (clash === undefined) return;
  const [first, second] = clash;
  const message =
    first === second
      ? `two files have the path ${quoteForeign(first)}`
      : `the file ${quoteForeign(first)} stands where ${quoteForeign(second)} needs a directory`;
  const at = files.findLast(({ request }) => request.path === second)?.at;
  refuse(report, at ?? { line: 1, column: 1 }, message, 'give one of them another objectAlias');
}

function refuse(report: Report, { line, column }: Position, message: string, hint?: string): void {
  report({
    severity: 'error',
    code: 'INVALID_CLASS',
    message,
    ...(hint !== undefined && { hint }),
    parameter,
    line,
    column,
  });
}

type Text = Pick<YamlScalar, 'text' | 'line' | 'column'>;

/** A scalar that says something: an empty one is as good as none. */
function filled(map: YamlMap, key: string): Text | undefined {
  const scalar = map.scalar(key);
  return scalar === undefined || scalar.text === ''
    ? undefined
    : { text: scalar.text, line: scalar.line, column: scalar.column };
}
