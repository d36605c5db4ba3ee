import { quoteForeign } from '../../errors/status-text.ts';
import { nearestName } from '../../plan/nearest.ts';
import type { PlanResult, Problem } from '../../plan/plan.ts';
import type { Parameters } from '../../plan/workload.ts';
import { readObjects } from './objects.ts';
import { readPathTranslation, type TranslatePath } from './path-translation.ts';
import { isRegion } from './region-shape.ts';

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

const known = ['objects', 'region', 'pathTranslation', 'usePodServiceAccountToken'] as const;
type Name = (typeof known)[number];

/** A parameter as it is written: its name, in whatever letter case, and its value. */
type Given = { readonly name: string; readonly text: string };

/** Compiles a SecretProviderClass of Alibaba Cloud's provider. Pure. Offline, without facts, what needs the node is left out. */
export function planAlibaba(parameters: Parameters, facts?: AlibabaFacts): PlanResult<AlibabaLogin> {
  const problems: Problem[] = [];
  const report = (problem: Problem): void => void problems.push(problem);
  const skipped: string[] = [];
  const given = readNames(parameters, report);
  const login = { podToken: readSwitch(given('usePodServiceAccountToken'), report) };
  const translate = readTranslation(given('pathTranslation'), report);
  const region = readRegion(given('region'), report) ?? facts?.region;
  const objects = given('objects');
  if (objects === undefined) {
    report(fault('objects', 'the parameter `objects` is missing', 'list the secrets to mount under it'));
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
  const failed = problems.some(({ severity }) => severity === 'error');
  return {
    ...(!failed && { plan: { refs, files, login } }),
    problems,
    ...(skipped.length > 0 && { skipped }),
  };
}

/** Names are taken in any letter case, as keys of objects are; those that mean nothing are warned of. */
function readNames(
  parameters: Parameters,
  report: (problem: Problem) => void,
): (name: Name) => Given | undefined {
  const given = new Map<string, Given>();
  for (const [name, text] of Object.entries(parameters)) {
    const folded = name.toLowerCase();
    const first = given.get(folded);
    if (!known.some((key) => key.toLowerCase() === folded)) warnUnknown(name, report);
    else if (first === undefined) given.set(folded, { name, text });
    else
      report(fault(name, `the parameter ${quoteForeign(name)} is ${first.name} again`, 'remove one of them'));
  }
  return (name) => given.get(name.toLowerCase());
}

function warnUnknown(name: string, report: (problem: Problem) => void): void {
  const nearest = nearestName(name, known);
  report({
    severity: 'warning',
    code: 'INVALID_CLASS',
    message: `the parameter ${quoteForeign(name)} means nothing to alibabacloud`,
    ...(nearest !== undefined && { hint: `did you mean ${nearest}?` }),
    parameter: name,
  });
}

/** A class that means to use the pod's identity must not run under another because of a misspelt word. */
function readSwitch(given: Given | undefined, report: (problem: Problem) => void): boolean {
  const text = given?.text.toLowerCase() ?? 'false';
  if (given !== undefined && text !== 'true' && text !== 'false')
    report(
      fault(
        given.name,
        `usePodServiceAccountToken is neither "true" nor "false": ${quoteForeign(given.text)}`,
        'write usePodServiceAccountToken: "true"',
      ),
    );
  return text === 'true';
}

function readTranslation(given: Given | undefined, report: (problem: Problem) => void): TranslatePath {
  const translate = readPathTranslation(given?.text ?? '');
  if (translate !== undefined) return translate;
  report(
    fault(
      given?.name ?? '',
      `pathTranslation is neither one character, other than "/", nor "False": ${quoteForeign(given?.text ?? '')}`,
      'leave it out for "_"; "False" keeps directories',
    ),
  );
  return (name) => name;
}

function readRegion(given: Given | undefined, report: (problem: Problem) => void): string | undefined {
  if (given === undefined || given.text === '') return undefined;
  if (!isRegion(given.text))
    report(
      fault(given.name, `region is no region: ${quoteForeign(given.text)}`, 'regions look like cn-hangzhou'),
    );
  return given.text;
}

function fault(parameter: string, message: string, hint: string): Problem {
  return { severity: 'error', code: 'INVALID_CLASS', message, hint, parameter };
}
