import {
  type FileRequest,
  type PlanResult,
  type Problem,
  type SecretRef,
  refKey,
} from '../../../core/plan.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import type { Parameters } from '../../../core/workload.ts';
import { type YamlMap, readYamlList } from '../../../formats/yaml-objects.ts';
import {
  type PositionedFile,
  type PositionedText,
  checkFileNames,
  fileOptionKeys,
  readJmesPathFiles,
  readRequiredText,
  createProblemReporter,
} from '../../shared/class/files.ts';
import {
  type RawParameter,
  parameterProblem,
  readParameters,
  readPathTranslation,
  readRegion,
} from '../../shared/class/parameters.ts';
import type { AlibabaNodeFacts } from '../types.ts';
import { type ClassContext, type ObjectContext, readRef } from './object-ref.ts';

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
type Item = { readonly map: YamlMap; type?: PositionedText | undefined };

/** What to read and which files to make of it, by the parameter `objects` as users of the vendor's provider write it. */
export function readObjects(
  text: string,
  context: ClassContext,
): { readonly refs: readonly SecretRef[]; readonly files: readonly FileRequest[] } {
  const { parameter, report } = context;
  const say = createProblemReporter(parameter, report);
  const reader = { ...context, reportError: say('error'), warn: say('warning') };
  // One secret may stand there twice, for files of different names; what asks the same is one ref.
  const refs = new Map<string, SecretRef>();
  const files: PositionedFile[] = [];
  for (const { map, type } of joinItems(
    readYamlList(text, { parameter, report, keys: 'any-case' }),
    reader,
  )) {
    map.warnUnknown(objectKeys);
    const name = readRequiredText(
      map,
      'objectName',
      'objectName is the name of the secret',
      reader.reportError,
    );
    const read = readRef(map, name, type, reader);
    const ref = refs.get(refKey(read)) ?? read;
    refs.set(refKey(ref), ref);
    files.push(...readJmesPathFiles(map, name, ref, reader));
  }
  checkFileNames(files, reader.reportError);
  return { refs: [...refs.values()], files: files.map(({ request }) => request) };
}

/** The vendor's guide prints `- objectName: "test"` and `- objectType: "kms"` as two items and means one. */
function joinItems(maps: readonly YamlMap[], { warn }: ObjectContext): readonly Item[] {
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

/** How a class wants to log in. */
export type AlibabaLogin = {
  /** By the pod's own token, and by nothing else; else by the keys the pod brings, or a shared identity. */
  readonly podToken: boolean;
};

/** Of one class: more than anybody replicates to, and few enough for a node's resolver. */
const maxRegions = 10;
const known = ['objects', 'region', 'pathTranslation', 'usePodServiceAccountToken'] as const;

/** Compiles a SecretProviderClass of Alibaba Cloud's provider. Pure. Offline, without facts, what needs the node is left out. */
export function planAlibaba(
  parameters: Parameters,
  facts?: AlibabaNodeFacts,
): PlanResult<AlibabaLogin> {
  const problems: Problem[] = [];
  const report = (problem: Problem): void => void problems.push(problem);
  const skipped: string[] = [];
  const given = readParameters('alibabacloud', known, parameters, report);
  const login = { podToken: readSwitch(given('usePodServiceAccountToken'), report) };
  const translate = readPathTranslation(given('pathTranslation'), report);
  const region = readRegion(given('region'), 'cn-hangzhou', report) ?? facts?.region;
  const objects = given('objects');
  if (objects === undefined) {
    report(
      parameterProblem(
        'objects',
        'the parameter `objects` is missing',
        'list the secrets to mount under it',
      ),
    );
    return { problems };
  }
  const { refs, files } = readObjects(objects.text, {
    parameter: objects.name,
    report,
    translatePath: translate,
    region,
    nodeFacts: facts,
    skip: (check) => {
      if (!skipped.includes(check)) skipped.push(check);
    },
  });
  checkRegions(refs, objects.name, report);
  const failed = problems.some(({ severity }) => severity === 'error');
  return {
    ...(!failed && { plan: { refs, files, login } }),
    problems,
    ...(skipped.length > 0 && { skipped }),
  };
}

/** An ARN is asked for in its own region, which is a host to look up and connections to open: for that the whole node pays. */
function checkRegions(
  refs: readonly SecretRef[],
  parameter: string,
  report: (problem: Problem) => void,
): void {
  const { size } = new Set(refs.map(({ region }) => region));
  if (size <= maxRegions) return;
  const message = `the objects are of ${size} regions, more than ${maxRegions}`;
  report(parameterProblem(parameter, message, 'split the class'));
}

/** A class that means to use the pod's identity must not run under another because of a misspelt word. */
function readSwitch(given: RawParameter | undefined, report: (problem: Problem) => void): boolean {
  const text = given?.text.toLowerCase() ?? 'false';
  if (given !== undefined && text !== 'true' && text !== 'false')
    report(
      parameterProblem(
        given.name,
        `usePodServiceAccountToken is neither "true" nor "false": ${sanitizeExternalText(given.text)}`,
        'write usePodServiceAccountToken: "true"',
      ),
    );
  return text === 'true';
}
