import type { FileRequest, PlanResult, Problem, SecretRef } from '../../core/plan.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Parameters } from '../../core/workload.ts';
import type { Steps } from '../../core/steps.ts';
import { type YamlMap, readYamlList } from '../../formats/yaml-objects.ts';
import { compileClass, reportMissingObjects } from '../shared/class/compile-class.ts';
import {
  type ObjectNames,
  type PositionedFile,
  type ReportAt,
  type PositionedText,
  checkFileNames,
  fileOptionKeys,
  readOptionalText,
  readJmesPathFiles,
  readRequiredText,
  createProblemReporter,
  yaml11Reader,
} from '../shared/class/files.ts';
import { parameterProblem, reportUnknownParameters } from '../shared/class/parameters.ts';
import { reportUnknownKeys } from '../shared/class/unknown-names.ts';
import { type CceLogin, secretNamePattern } from './types.ts';

type NamedObject = ObjectNames & { readonly where: string };

/**
 * The rules of the add-on: names are unique, and an alias differs from every name, also its own.
 */
function checkNames(objects: readonly NamedObject[], reportError: ReportAt): void {
  const byName = new Map<string, NamedObject>();
  for (const object of objects) {
    if (object.name === undefined) continue;
    const first = byName.get(object.name.text);
    if (first === undefined) byName.set(object.name.text, object);
    else
      reportError(
        object.name,
        `objectName of ${object.where} is that of ${first.where} too`,
        'list a secret once; jmesPath makes several files of one',
      );
  }
  for (const object of objects) {
    const sameNameObject = object.alias && byName.get(object.alias.text);
    if (object.alias === undefined || sameNameObject === undefined) continue;
    const conflictingName =
      sameNameObject === object
        ? 'its own objectName'
        : `the objectName of ${sameNameObject.where}`;
    reportError(
      object.alias,
      `objectAlias of ${object.where} is ${conflictingName}`,
      'choose another alias, or leave it out',
    );
  }
}

const parameter = 'objects';
// The add-on's parser is not published. Its providers' kin read YAML 1.1.
const yaml11 = yaml11Reader('the add-on may read');
const objectKeys = [
  'objectName',
  'objectAlias',
  'objectVersion',
  'objectType',
  'jmesPath',
  'optional',
  ...fileOptionKeys,
];
const podParameters = ['agencyUrn', 'providerUrn', 'audience'] as const;
const names = {
  provider: 'cce',
  parameters: [parameter, 'usePodOIDC', ...podParameters],
  objectKeys,
  remedies: {
    address: 'remove it: the operator of Keyferry configures the endpoints',
    region: 'remove it: the operator of Keyferry configures the region',
    project: 'remove it: the operator of Keyferry configures the project',
  },
};

type ReadContext = { readonly reportError: ReportAt; readonly report: (problem: Problem) => void };
type CceObject = NamedObject & {
  readonly ref: SecretRef;
  readonly files: readonly PositionedFile[];
};

/** Reads the parameter `objects` in the form of the add-on: the refs and the files. */
export function* readObjects(
  text: string,
  report: (problem: Problem) => void,
): Steps<{ readonly refs: readonly SecretRef[]; readonly files: readonly FileRequest[] }> {
  const reportError = createProblemReporter(parameter, report)('error');
  const maps = yield* readYamlList(text, { parameter, report, keys: 'exact', yaml11 });
  const objects: CceObject[] = [];
  for (const map of maps) {
    yield 'held';
    objects.push(readObject(map, { reportError, report }));
  }
  const files = objects.flatMap((object) => object.files);
  checkNames(objects, reportError);
  checkFileNames(files, reportError);
  return { refs: objects.map(({ ref }) => ref), files: files.map(({ request }) => request) };
}

function readObject(map: YamlMap, context: ReadContext): CceObject {
  reportUnknownKeys(map, objectKeys, names);
  const name = readName(map, context);
  const alias = readOptionalText(map, 'objectAlias');
  checkType(map, context);
  const ref = { service: 'csms', name: name?.text ?? '', version: readVersion(map, context) };
  const files = readJmesPathFiles(map, { name, alias }, ref, {
    ...{ ...context, names, parameter, pathKind: 'key-or-jmespath' },
  });
  return { where: map.where, ref, files, name, alias };
}

function readName(map: YamlMap, context: ReadContext): PositionedText | undefined {
  const name = readRequiredText(
    map,
    'objectName',
    'objectName is the name of the secret in CSMS',
    context.reportError,
  );
  // `.` and `..` match CSMS's pattern, but they would change the path of the request.
  if (name !== undefined && (!secretNamePattern.test(name.text) || /^\.\.?$/.test(name.text)))
    context.reportError(
      name,
      `objectName of ${map.where} is not a name that CSMS allows: ${sanitizeUserText(name.text)}`,
      'names have 1 to 64 letters, digits, "_", "." and "-"',
    );
  return name;
}

function checkType(map: YamlMap, context: ReadContext): void {
  const hint = 'write objectType: "csms"';
  const type = readRequiredText(map, 'objectType', hint, context.reportError);
  if (type !== undefined && type.text !== 'csms')
    context.reportError(
      type,
      `objectType of ${map.where} is not known: ${sanitizeUserText(type.text)}`,
      hint,
    );
}

function readVersion(map: YamlMap, context: ReadContext): string {
  const hint = 'write objectVersion: "latest", or a version such as "v1"';
  const version = readRequiredText(map, 'objectVersion', hint, context.reportError);
  if (version !== undefined && !/^(latest|v[0-9]{1,10})$/.test(version.text))
    context.reportError(
      version,
      `objectVersion of ${map.where} is not a version of CSMS: ${sanitizeUserText(version.text)}`,
      hint,
    );
  return version?.text ?? '';
}

/** The audience of the pod's token, unless the class names another. */
const defaultAudience = 'sts.huaweicloud.com';

/** Compiles a SecretProviderClass of the CCE Secrets Manager for DEW add-on. Pure. */
export function planCce(parameters: Parameters): Steps<PlanResult<CceLogin>> {
  return compileClass(function* (reporter) {
    const { report } = reporter;
    reportUnknownParameters(names, parameters, report);
    const login = readLogin(parameters, report);
    const { objects } = parameters;
    if (objects === undefined) return reportMissingObjects(reporter, parameters);
    return { ...(yield* readObjects(objects, report)), login };
  });
}

function readLogin(parameters: Parameters, report: (problem: Problem) => void): CceLogin {
  const { usePodOIDC = 'false' } = parameters;
  if (usePodOIDC === 'true') return readPodLogin(parameters, report);
  if (usePodOIDC !== 'false')
    report(
      parameterProblem(
        'usePodOIDC',
        `usePodOIDC is neither "true" nor "false": ${sanitizeUserText(usePodOIDC)}`,
        'write usePodOIDC: "true"',
      ),
    );
  // These parameters request an own identity. The cluster's must not replace it silently.
  for (const key of podParameters.filter((name) => parameters[name] !== undefined))
    report(
      parameterProblem(
        key,
        `${key} has no effect without usePodOIDC`,
        'add usePodOIDC: "true", or remove it',
      ),
    );
  return { kind: 'cluster' };
}

function readPodLogin(parameters: Parameters, report: (problem: Problem) => void): CceLogin {
  const { agencyUrn = '', providerUrn = '', audience = defaultAudience } = parameters;
  const login = { agencyUrn, providerUrn, audience };
  for (const key of podParameters) {
    if (login[key] === '')
      report(
        parameterProblem(
          key,
          `usePodOIDC needs the parameter ${key}`,
          `see docs/providers/cce.md for an example`,
        ),
      );
    else if (!/^[\x21-\x7e]{1,1500}$/.test(login[key]))
      report(
        parameterProblem(
          key,
          `${key} has spaces or unusual characters, or is too long`,
          'copy it again',
        ),
      );
  }
  return { kind: 'pod', ...login };
}
