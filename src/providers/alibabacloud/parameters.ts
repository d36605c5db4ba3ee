import { quoteForeign } from '../../errors/status-text.ts';
import type { PlanResult, Problem, SecretRef } from '../../plan/plan.ts';
import type { Parameters } from '../../plan/workload.ts';
import { parameterFault, readParameters, type GivenParameter } from '../class-parameters.ts';
import { readPathTranslation } from '../path-translation.ts';
import { readRegion } from '../region.ts';
import { readObjects } from './objects.ts';

/** How a class wants to log in. */
export type AlibabaLogin = {
  /** By the pod's own token, and by nothing else; else by the keys the pod brings, or a shared identity. */
  readonly podToken: boolean;
};

/** What is constant for a node. */
export type AlibabaFacts = {
  /** For objects whose class names none. Absent where no object needs it. */
  readonly region?: string;
  /** What the operator lets classes name as `kmsEndpoint`, beside Alibaba Cloud's own; entries as `classEndpoint` takes them. */
  readonly allowedEndpoints: readonly string[];
};

/** Of one class: more than anybody replicates to, and few enough for a node's resolver. */
const maxRegions = 10;
const known = ['objects', 'region', 'pathTranslation', 'usePodServiceAccountToken'] as const;

/** Compiles a SecretProviderClass of Alibaba Cloud's provider. Pure. Offline, without facts, what needs the node is left out. */
export function planAlibaba(parameters: Parameters, facts?: AlibabaFacts): PlanResult<AlibabaLogin> {
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
      parameterFault('objects', 'the parameter `objects` is missing', 'list the secrets to mount under it'),
    );
    return { problems };
  }
  const { refs, files } = readObjects(objects.text, {
    parameter: objects.name,
    report,
    translate,
    region,
    facts,
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
  report(parameterFault(parameter, message, 'split the class'));
}

/** A class that means to use the pod's identity must not run under another because of a misspelt word. */
function readSwitch(given: GivenParameter | undefined, report: (problem: Problem) => void): boolean {
  const text = given?.text.toLowerCase() ?? 'false';
  if (given !== undefined && text !== 'true' && text !== 'false')
    report(
      parameterFault(
        given.name,
        `usePodServiceAccountToken is neither "true" nor "false": ${quoteForeign(given.text)}`,
        'write usePodServiceAccountToken: "true"',
      ),
    );
  return text === 'true';
}
