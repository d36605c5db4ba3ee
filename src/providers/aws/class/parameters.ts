import {
  type FileRequest,
  type PlanResult,
  type Problem,
  type SecretRef,
  refKey,
} from '../../../core/plan.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import type { Parameters } from '../../../core/workload.ts';
import { readYamlList } from '../../../formats/yaml-objects.ts';
import {
  type ReadFilesContext,
  type PositionedFile,
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
import type { AddressType } from '../types.ts';
import { type RefReader, readRef } from './object-ref.ts';

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
export type ObjectsContext = Pick<RefReader, 'region' | 'failoverRegion'> &
  Omit<ReadFilesContext, 'reportError'>;

/** What to read and which files to make of it, by the parameter `objects` as users of AWS's provider write it. */
export function readObjects(
  text: string,
  context: ObjectsContext,
): { readonly refs: readonly SecretRef[]; readonly files: readonly FileRequest[] } {
  const { parameter, report } = context;
  const say = createProblemReporter(parameter, report);
  const reader = { ...context, reportError: say('error'), warn: say('warning') };
  // One secret may stand there twice, for files of different names; what asks the same is one ref.
  const refs = new Map<string, SecretRef>();
  const files: PositionedFile[] = [];
  for (const map of readYamlList(text, { parameter, report, keys: 'any-case' })) {
    map.warnUnknown(objectKeys);
    const name = readRequiredText(
      map,
      'objectName',
      'objectName is the name of the secret',
      reader.reportError,
    );
    const read = readRef(map, name, reader);
    const key = [read, ...(read.fallbacks ?? [])].map(refKey).join(' ');
    const ref = refs.get(key) ?? read;
    refs.set(key, ref);
    files.push(...readJmesPathFiles(map, name, ref, reader));
  }
  checkFileNames(files, reader.reportError);
  return { refs: [...refs.values()], files: files.map(({ request }) => request) };
}

/** How a class wants to log in. */
export type AwsLogin = {
  /** By EKS Pod Identity, and by nothing else; else by the role of the pod's ServiceAccount. */
  readonly usePodIdentity: boolean;
  /** Where the agent of Pod Identity is asked. */
  readonly addressType: AddressType;
};

/** What is constant for a node. */
export type AwsNodeFacts = {
  /** For classes that name none. Absent where no object needs it. */
  readonly region?: string;
};

const known = [
  'objects',
  'region',
  'failoverRegion',
  'pathTranslation',
  'usePodIdentity',
  'preferredAddressType',
] as const;

/** Compiles a SecretProviderClass of AWS's provider. Pure. Offline, without facts, what needs the node is left out. */
export function planAws(parameters: Parameters, facts?: AwsNodeFacts): PlanResult<AwsLogin> {
  const problems: Problem[] = [];
  const report = (problem: Problem): void => void problems.push(problem);
  const given = readParameters('aws', known, parameters, report);
  const login = {
    usePodIdentity: readSwitch(given('usePodIdentity'), report),
    addressType: readAddressType(given('preferredAddressType'), report),
  };
  const translate = readPathTranslation(given('pathTranslation'), report);
  const region = readRegion(given('region'), 'eu-west-1', report) ?? facts?.region;
  const failoverRegion = readFailoverRegion(given('failoverRegion'), region, report);
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
    ...{ report, translatePath: translate, region, failoverRegion },
  });
  const isOpen = facts === undefined && refs.some((ref) => ref.region === undefined);
  const skipped = isOpen
    ? ['the region, which the class leaves to the node, and what has to fit it']
    : [];
  const failed = problems.some(({ severity }) => severity === 'error');
  return {
    ...(!failed && { plan: { refs, files, login } }),
    problems,
    ...(skipped.length > 0 && { skipped }),
  };
}

/** As Go spells a boolean. A class that means Pod Identity must not run under another identity because of a misspelt word. */
function readSwitch(given: RawParameter | undefined, report: (problem: Problem) => void): boolean {
  const text = given?.text ?? '';
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  if (given !== undefined && !/^(|0|f|F|FALSE|false|False)$/.test(text))
    report(
      parameterProblem(
        given.name,
        `usePodIdentity is neither "true" nor "false": ${sanitizeExternalText(text)}`,
        'write usePodIdentity: "true"',
      ),
    );
  return false;
}

function readAddressType(
  given: RawParameter | undefined,
  report: (problem: Problem) => void,
): AddressType {
  const text = given?.text.toLowerCase() ?? '';
  if (text === 'ipv4' || text === 'ipv6') return text;
  if (given !== undefined && text !== '' && text !== 'auto')
    report({
      ...parameterProblem(
        given.name,
        `preferredAddressType is none of ipv4, ipv6 and auto, so it means auto: ${sanitizeExternalText(given.text)}`,
        'write ipv4 or ipv6, or leave it out',
      ),
      severity: 'warning',
    });
  return 'auto';
}

function readFailoverRegion(
  given: RawParameter | undefined,
  primary: string | undefined,
  report: (problem: Problem) => void,
): string | undefined {
  const region = readRegion(given, 'us-east-1', report);
  if (given !== undefined && region !== undefined && region === primary)
    report(
      parameterProblem(
        given.name,
        `failoverRegion is the region itself: ${region}`,
        'name another region, or leave it out',
      ),
    );
  return region;
}
