import type { PlanResult, Problem, SecretRef } from '../../../core/plan.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import type { Parameters } from '../../../core/workload.ts';
import type { Steps } from '../../../core/steps.ts';
import { compileClass, reportMissingObjects } from '../../shared/class/compile-class.ts';
import {
  type RawParameter,
  parameterProblem,
  readParameters,
  readPathTranslation,
  readRegion,
} from '../../shared/class/parameters.ts';
import type { AlibabaNodeFacts } from '../types.ts';
import { objectKeys, readObjects } from './objects.ts';

/** How a class wants to log in. */
export type AlibabaLogin = {
  /** True: by the pod's own token only. False: by the keys of the pod, or by a shared identity. */
  readonly podToken: boolean;
};

/** Enough for a secret that is replicated, and few enough for the resolver of a node. */
const maxRegions = 10;
const names = {
  provider: 'alibabacloud',
  parameters: ['objects', 'region', 'pathTranslation', 'usePodServiceAccountToken'],
  objectKeys,
  remedies: { key: 'put the keys into a Secret for nodePublishSecretRef' },
} as const;

/**
 * Compiles a SecretProviderClass of Alibaba Cloud's provider. Pure.
 * @param nodeFacts undefined offline; the result then lists the checks that were skipped
 */
export function planAlibaba(
  parameters: Parameters,
  nodeFacts?: AlibabaNodeFacts,
): Steps<PlanResult<AlibabaLogin>> {
  return compileClass(function* (reporter) {
    const { report, skip } = reporter;
    const getParameter = readParameters(names, parameters, report);
    const podToken = readPodTokenSwitch(getParameter('usePodServiceAccountToken'), report);
    const translatePath = readPathTranslation(getParameter('pathTranslation'), report);
    const region = readRegion(getParameter('region'), 'cn-hangzhou', report) ?? nodeFacts?.region;
    const objects = getParameter('objects');
    if (objects === undefined) return reportMissingObjects(reporter, parameters);
    const { refs, files } = yield* readObjects(objects.text, {
      parameter: objects.name,
      ...{ names, report, skip, translatePath, region, nodeFacts },
    });
    checkRegions(refs, objects.name, report);
    return { refs, files, login: { podToken } };
  });
}

/**
 * Limits the regions of a class. An ARN names its region, and each region costs the node the lookup
 * of a host, and connections.
 */
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

/** Reports a misspelt word, because it must not lead to another identity than the pod's. */
function readPodTokenSwitch(
  parameter: RawParameter | undefined,
  report: (problem: Problem) => void,
): boolean {
  const text = parameter?.text.toLowerCase() ?? 'false';
  if (parameter !== undefined && text !== 'true' && text !== 'false')
    report(
      parameterProblem(
        parameter.name,
        `usePodServiceAccountToken is neither "true" nor "false": ${sanitizeUserText(parameter.text)}`,
        'write usePodServiceAccountToken: "true"',
      ),
    );
  return text === 'true';
}
