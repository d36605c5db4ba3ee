import {
  type FileRequest,
  type PlanResult,
  type Problem,
  type SecretRef,
  refKey,
} from '../../../core/plan.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import type { Parameters } from '../../../core/workload.ts';
import type { Steps } from '../../../core/steps.ts';
import { readYamlList } from '../../../formats/yaml-objects.ts';
import { compileClass, reportMissingObjects } from '../../shared/class/compile-class.ts';
import {
  type ReadFilesContext,
  type PositionedFile,
  checkFileNames,
  fileOptionKeys,
  readJmesPathFiles,
  readOptionalText,
  readRequiredText,
  createProblemReporter,
  yaml11Reader,
} from '../../shared/class/files.ts';
import {
  type RawParameter,
  parameterProblem,
  readParameters,
  readPathTranslation,
  readRegion,
} from '../../shared/class/parameters.ts';
import { reportUnknownKeys } from '../../shared/class/unknown-names.ts';
import type { AddressType } from '../types.ts';
import { type RefContext, readRef } from './object-ref.ts';

const parameterNames = [
  'objects',
  'region',
  'failoverRegion',
  'pathTranslation',
  'usePodIdentity',
  'preferredAddressType',
] as const;
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

const names = {
  provider: 'aws',
  parameters: parameterNames,
  objectKeys,
  remedies: {
    address: 'remove it: the region decides about the address',
    role: 'annotate the ServiceAccount with eks.amazonaws.com/role-arn, and remove it',
  },
};

const yaml11 = yaml11Reader("AWS's provider reads");

/** What the other parameters of a class set for its objects. */
export type ObjectsContext = Pick<RefContext, 'region' | 'failoverRegion'> &
  Omit<ReadFilesContext, 'reportError' | 'names'>;

/**
 * Reads the parameter `objects` in the format of AWS's provider.
 * @returns the secrets to read, and the files to make of them
 */
export function* readObjects(
  text: string,
  context: ObjectsContext,
): Steps<{ readonly refs: readonly SecretRef[]; readonly files: readonly FileRequest[] }> {
  const { parameter, report } = context;
  const reportAs = createProblemReporter(parameter, report);
  const refContext = {
    ...{ ...context, names },
    ...{ reportError: reportAs('error'), warn: reportAs('warning') },
  };
  // Objects that read the same secret, for files of different names, share one ref.
  const refByKey = new Map<string, SecretRef>();
  const files: PositionedFile[] = [];
  const maps = yield* readYamlList(text, { parameter, report, keys: 'any-case', yaml11 });
  for (const map of maps) {
    yield 'held';
    reportUnknownKeys(map, objectKeys, names);
    const name = readRequiredText(
      map,
      'objectName',
      'objectName is the name of the secret',
      refContext.reportError,
    );
    const objectRef = readRef(map, name, refContext);
    const key = [objectRef, ...(objectRef.fallbacks ?? [])].map(refKey).join(' ');
    const ref = refByKey.get(key) ?? objectRef;
    refByKey.set(key, ref);
    const alias = readOptionalText(map, 'objectAlias');
    files.push(...readJmesPathFiles(map, { name, alias }, ref, refContext));
  }
  checkFileNames(files, refContext.reportError);
  return { refs: [...refByKey.values()], files: files.map(({ request }) => request) };
}

/** How a class wants to log in. */
export type AwsLogin = {
  /**
   * Use EKS Pod Identity and no other identity. Otherwise: the role of the pod's ServiceAccount.
   */
  readonly usePodIdentity: boolean;
  /** Which address of the Pod Identity agent to use. */
  readonly addressType: AddressType;
};

/** What is constant for a node. */
export type AwsNodeFacts = {
  /** For objects without a region of their own. Absent where no object needs it. */
  readonly region?: string;
};

/**
 * Compiles a SecretProviderClass of AWS's provider. Pure. Without `nodeFacts`, as in offline lint,
 * it skips the checks that need the region of the node.
 */
export function planAws(
  parameters: Parameters,
  nodeFacts?: AwsNodeFacts,
): Steps<PlanResult<AwsLogin>> {
  return compileClass(function* (reporter) {
    const { report, skip } = reporter;
    const given = readParameters(names, parameters, report);
    const login = {
      usePodIdentity: readSwitch(given('usePodIdentity'), report),
      addressType: readAddressType(given('preferredAddressType'), report),
    };
    const translatePath = readPathTranslation(given('pathTranslation'), report);
    const region = readRegion(given('region'), 'eu-west-1', report) ?? nodeFacts?.region;
    const failoverRegion = readFailoverRegion(given('failoverRegion'), region, report);
    const objects = given('objects');
    if (objects === undefined) return reportMissingObjects(reporter, parameters);
    const { refs, files } = yield* readObjects(objects.text, {
      parameter: objects.name,
      ...{ report, translatePath, region, failoverRegion },
    });
    if (nodeFacts === undefined && refs.some((ref) => ref.region === undefined))
      skip('the region, which the class leaves to the node, and the checks that depend on it');
    return { refs, files, login };
  });
}

/**
 * Reads `usePodIdentity` in Go's spellings of a boolean. Another text is an error: with a typing
 * error a class for Pod Identity must not run under another identity.
 */
function readSwitch(given: RawParameter | undefined, report: (problem: Problem) => void): boolean {
  const text = given?.text ?? '';
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  if (given !== undefined && !/^(|0|f|F|FALSE|false|False)$/.test(text))
    report(
      parameterProblem(
        given.name,
        `usePodIdentity is neither "true" nor "false": ${sanitizeUserText(text)}`,
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
        `preferredAddressType is not ipv4, ipv6 or auto, so Keyferry uses auto: ${sanitizeUserText(given.text)}`,
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
