import {
  type FileRequest,
  type PlanResult,
  type Problem,
  type SecretRef,
  type Selector,
  refKey,
} from '../../core/plan.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { Parameters } from '../../core/workload.ts';
import { nearestName } from '../../formats/suggest.ts';
import { type YamlMap, readYamlList } from '../../formats/yaml-objects.ts';
import {
  type PositionedFile,
  type ReportAt,
  type PositionedText,
  checkFileNames,
  fileOptionKeys,
  readOptionalText,
  readFileOptions,
  readRequiredText,
  createProblemReporter,
} from '../shared/class/files.ts';

/**
 * In characters. The file system limits the length of a segment, because a name is a file path by
 * default.
 */
const maxNameLength = 512;
const maxSegmentLength = 255;
const segmentPattern = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/**
 * Checks the name of a secret: `eu/prod/db`. A name has segments that `/` separates. A segment has
 * ASCII letters, digits, `.`, `_` and `-`, and begins with a letter or digit. So every name is a
 * safe file path.
 * @returns the problem, or undefined
 */
export function checkSecretName(name: string): string | undefined {
  if (name === '') return 'is empty';
  if (name.length > maxNameLength) return `is longer than ${maxNameLength} characters`;
  const segments = name.split('/');
  if (segments.some((part) => part === '')) return 'has an empty segment';
  if (segments.some((part) => part.length > maxSegmentLength))
    return `has a segment of more than ${maxSegmentLength} characters`;
  if (segments.every((part) => segmentPattern.test(part))) return undefined;
  return 'may hold only letters, digits, ".", "_" and "-", in segments that begin with a letter or digit and are separated by "/"';
}

/** The number of `v1`, `v2`, ... Undefined for any other text. */
export function versionNumber(version: string): number | undefined {
  return /^v[1-9][0-9]{0,9}$/.test(version) ? Number(version.slice(1)) : undefined;
}

const parameter = 'objects';
const objectKeys = [
  'objectName',
  'objectAlias',
  'objectVersion',
  'jmesPath',
  'optional',
  ...fileOptionKeys,
];
const selectionKeys = ['path', 'objectAlias', ...fileOptionKeys];

type Report = (problem: Problem) => void;

/** Reads the parameter `objects`: the refs and the files. Reports all problems of all objects. */
export function readObjects(
  text: string,
  report: Report,
): { readonly refs: readonly SecretRef[]; readonly files: readonly FileRequest[] } {
  const reportError = createProblemReporter(parameter, report)('error');
  // A class can list a secret several times: in two versions, or for two files. Equal refs become
  // one.
  const refs = new Map<string, SecretRef>();
  const files: PositionedFile[] = [];
  for (const object of readYamlList(text, { parameter, report, keys: 'exact' })) {
    object.warnUnknown(objectKeys);
    const parsedRef = readRef(object, reportError);
    const ref = refs.get(refKey(parsedRef)) ?? parsedRef;
    refs.set(refKey(ref), ref);
    files.push(...readFiles(object, ref, { reportError, report }));
  }
  checkFileNames(files, reportError);
  return { refs: [...refs.values()], files: files.map(({ request }) => request) };
}

/** The name of the ref is empty if it is missing or not valid. */
function readRef(object: YamlMap, reportError: ReportAt): SecretRef {
  const name = readRequiredText(
    object,
    'objectName',
    'objectName is the name of the secret',
    reportError,
  );
  const problem = checkSecretName(name?.text ?? '');
  if (name !== undefined && problem !== undefined)
    reportError(name, `objectName of ${object.where} ${problem}`);

  const version = readOptionalText(object, 'objectVersion');
  const pinned = version !== undefined && version.text !== 'latest';
  if (pinned && versionNumber(version.text) === undefined)
    reportError(
      version,
      `objectVersion of ${object.where} is unknown: ${sanitizeExternalText(version.text)}`,
      'use latest, v1, v2, ...',
    );
  return {
    service: 'local',
    name: problem === undefined ? (name?.text ?? '') : '',
    ...(pinned && { version: version.text }),
  };
}

function readFiles(
  object: YamlMap,
  ref: SecretRef,
  { reportError, report }: { readonly reportError: ReportAt; readonly report: Report },
): readonly PositionedFile[] {
  const options = readFileOptions(object, parameter, report);
  const optional = object.boolean('optional') === true && { optional: true };
  const file = (
    { text: path, ...at }: PositionedText,
    selector: Selector,
    fileOptions = options,
  ): PositionedFile => ({
    request: { path, sources: { value: { ref, selector } }, ...fileOptions, ...optional },
    at,
  });
  const selections = object.list('jmesPath') ?? [];
  const selectedFiles = selections.flatMap((selection) => {
    selection.warnUnknown([...selectionKeys]);
    const fileOptions = readFileOptions(selection, parameter, report, options);
    const path = readRequiredText(
      selection,
      'path',
      'path is a key of the secret, or JMESPath',
      reportError,
    );
    if (path === undefined) return [];
    const alias = readOptionalText(selection, 'objectAlias') ?? path;
    return [file(alias, { kind: 'key-or-jmespath', text: path.text }, fileOptions)];
  });
  // With selections, the whole secret becomes a file only if it has an alias.
  const wholeSecretPath =
    readOptionalText(object, 'objectAlias') ??
    (selections.length > 0 || ref.name === '' ? undefined : readOptionalText(object, 'objectName'));
  return wholeSecretPath === undefined
    ? selectedFiles
    : [file(wholeSecretPath, { kind: 'whole' }), ...selectedFiles];
}

/** A local store needs no login. */
export type LocalLogin = Readonly<Record<string, never>>;

/** Compiles a class of the provider `local`: see docs/providers/local.md. Pure. */
export function planLocal(parameters: Parameters): PlanResult<LocalLogin> {
  const problems: Problem[] = [];
  const addProblem = (
    severity: Problem['severity'],
    parameter: string,
    message: string,
    hint?: string,
  ): void =>
    void problems.push({
      severity,
      code: 'INVALID_CLASS',
      message,
      ...(hint !== undefined && { hint }),
      parameter,
    });

  for (const name of Object.keys(parameters).filter((key) => key !== 'objects')) {
    const nearest = nearestName(name, ['objects']);
    const hint = nearest && `did you mean ${nearest}?`;
    addProblem(
      'warning',
      name,
      `a parameter that is unknown to provider local: ${sanitizeExternalText(name)}`,
      hint,
    );
  }
  if (parameters.objects === undefined) {
    addProblem(
      'error',
      'objects',
      'the parameter `objects` is missing',
      'list the secrets to mount under it',
    );
    return { problems };
  }
  const { refs, files } = readObjects(parameters.objects, (problem) => void problems.push(problem));
  const failed = problems.some(({ severity }) => severity === 'error');
  return failed ? { problems } : { plan: { refs, files, login: {} }, problems };
}
