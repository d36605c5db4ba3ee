import {
  type FileRequest,
  type PlanResult,
  type Problem,
  type SecretRef,
  refKey,
} from '../../core/plan.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Parameters } from '../../core/workload.ts';
import type { Steps } from '../../core/steps.ts';
import { type YamlMap, readYamlList } from '../../formats/yaml-objects.ts';
import { compileClass, reportMissingObjects } from '../shared/class/compile-class.ts';
import {
  type PositionedFile,
  type ReportAt,
  type PositionedText,
  checkFileNames,
  fileOptionKeys,
  readOptionalText,
  readJmesPathFiles,
  readRequiredText,
  createProblemReporter,
} from '../shared/class/files.ts';
import { reportUnknownParameters } from '../shared/class/parameters.ts';
import { reportUnknownKeys } from '../shared/class/unknown-names.ts';

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
const names = { provider: 'local', parameters: [parameter], objectKeys };

type Report = (problem: Problem) => void;

/** Reads the parameter `objects`: the refs and the files. Reports all problems of all objects. */
export function* readObjects(
  text: string,
  report: Report,
): Steps<{ readonly refs: readonly SecretRef[]; readonly files: readonly FileRequest[] }> {
  const reportError = createProblemReporter(parameter, report)('error');
  // A class can list a secret several times: in two versions, or for two files. Equal refs become
  // one.
  const refs = new Map<string, SecretRef>();
  const files: PositionedFile[] = [];
  const objects = yield* readYamlList(text, { parameter, report, keys: 'exact' });
  for (const object of objects) {
    yield 'held';
    reportUnknownKeys(object, objectKeys, names);
    const name = readName(object, reportError);
    const parsedRef = readRef(object, name, reportError);
    const ref = refs.get(refKey(parsedRef)) ?? parsedRef;
    refs.set(refKey(ref), ref);
    const alias = readOptionalText(object, 'objectAlias');
    files.push(
      ...readJmesPathFiles(object, { name, alias }, ref, {
        ...{ names, parameter, report, reportError, pathKind: 'key-or-jmespath' },
      }),
    );
  }
  checkFileNames(files, reportError);
  return { refs: [...refs.values()], files: files.map(({ request }) => request) };
}

/** Undefined if the name is missing or not valid. */
function readName(object: YamlMap, reportError: ReportAt): PositionedText | undefined {
  const name = readRequiredText(
    object,
    'objectName',
    'objectName is the name of the secret',
    reportError,
  );
  const problem = checkSecretName(name?.text ?? '');
  if (name !== undefined && problem !== undefined)
    reportError(name, `objectName of ${object.where} ${problem}`);
  return problem === undefined ? name : undefined;
}

function readRef(
  object: YamlMap,
  name: PositionedText | undefined,
  reportError: ReportAt,
): SecretRef {
  const version = readOptionalText(object, 'objectVersion');
  const pinned = version !== undefined && version.text !== 'latest';
  if (pinned && versionNumber(version.text) === undefined)
    reportError(
      version,
      `objectVersion of ${object.where} is unknown: ${sanitizeUserText(version.text)}`,
      'use latest, v1, v2, ...',
    );
  return {
    service: 'local',
    name: name?.text ?? '',
    ...(pinned && { version: version.text }),
  };
}

/** A local store needs no login. */
export type LocalLogin = Readonly<Record<string, never>>;

/** Compiles a class of the provider `local`: see docs/providers/local.md. Pure. */
export function planLocal(parameters: Parameters): Steps<PlanResult<LocalLogin>> {
  return compileClass(function* (reporter) {
    const { report } = reporter;
    reportUnknownParameters(names, parameters, report);
    const { objects } = parameters;
    if (objects === undefined) return reportMissingObjects(reporter, parameters);
    return { ...(yield* readObjects(objects, report)), login: {} };
  });
}
