import type { Plan, Problem } from '../../core/plan.ts';
import type { Provider } from '../../core/provider.ts';
import { quoteForeign } from '../../core/safe-text.ts';
import { nearestName } from '../../formats/suggest.ts';
import type { SecretProviderClass } from './class-object.ts';
import type { Finding } from './finding.ts';

/** What lint needs of a provider. */
export type Planner = Pick<Provider, 'name' | 'plan'>;

/** All there is to say about a class without asking any store. */
export type ClassCheck = {
  readonly findings: readonly Finding[];
  /** Checks that need a cluster or a node, one phrase each. */
  readonly skipped: readonly string[];
};

/** Checks a class by the `plan()` that serves its mounts, and what it says of files against the plan. */
export function checkClass(spc: SecretProviderClass, planners: readonly Planner[]): ClassCheck {
  const planner = planners.find(({ name }) => name === spc.provider);
  if (planner === undefined)
    return { findings: [...spc.findings, ...unknownProvider(spc, planners)], skipped: [] };
  const { plan, problems, skipped = [] } = planner.plan(spc.parameters);
  const findings = [...spc.findings, ...problems.map((problem) => fromProblem(spc, problem))];
  if (plan !== undefined)
    return { findings: [...findings, ...checkSynced(spc, plan), ...checkModes(spc, plan)], skipped };
  const unchecked = spc.synced.length === 0 ? [] : ['the file names in secretObjects'];
  return { findings, skipped: [...skipped, ...unchecked] };
}

function unknownProvider(spc: SecretProviderClass, planners: readonly Planner[]): Finding[] {
  if (spc.provider === '') return [];
  const known = planners.map(({ name }) => name);
  const near = nearestName(spc.provider, known);
  const remedy = near === undefined ? `Keyferry serves ${known.join(', ')}` : `did you mean ${near}?`;
  const message = `no provider "${quoteForeign(spc.provider)}"`;
  return [
    { place: spc.providerPlace, severity: 'error', code: 'INVALID_CLASS', class: spc.name, message, remedy },
  ];
}

/** A mount passes over warnings, since today's providers ignore such things; whoever lints wants to know them. */
function fromProblem(spc: SecretProviderClass, problem: Problem): Finding {
  const { exact, ...place } = spc.placeOf(problem.parameter, problem.line, problem.column);
  const where = exact
    ? ''
    : ` (line ${problem.line ?? 1} of parameter "${quoteForeign(problem.parameter ?? '')}")`;
  return {
    place,
    severity: 'error',
    code: problem.code,
    class: spc.name,
    message: problem.message + where,
    ...(problem.hint !== undefined && { remedy: problem.hint }),
  };
}

/** The driver makes no Secret where one of its files is missing, and says so every two seconds. */
function checkSynced(spc: SecretProviderClass, plan: Plan): Finding[] {
  const paths = plan.files.map(({ path }) => path);
  return spc.synced
    .filter(({ objectName }) => !paths.includes(objectName))
    .map(({ objectName, place }) => {
      const near = nearestName(objectName, paths);
      return {
        place,
        severity: 'error',
        code: 'INVALID_CLASS',
        class: spc.name,
        message: `secretObjects names the file "${quoteForeign(objectName)}", which this class does not make`,
        remedy:
          near === undefined
            ? `it makes ${quoteForeign(paths.join(', '))}`
            : `did you mean ${quoteForeign(near)}?`,
      };
    });
}

/** Files belong to root and the driver does not honour fsGroup, so others have only what the mode gives to all. */
function checkModes(spc: SecretProviderClass, plan: Plan): Finding[] {
  return plan.files
    .filter(({ mode = 0o444 }) => (mode & 0o004) === 0)
    .map(({ path, mode = 0 }) => {
      const octal = mode.toString(8).padStart(4, '0');
      const { file, line, column } = spc.placeOf('objects');
      return {
        place: { file, line, column },
        severity: 'hint',
        class: spc.name,
        message: `file "${quoteForeign(path)}" has mode ${octal} and belongs to root: a container that does not run as root cannot read it`,
        remedy: 'fsGroup has no effect on this volume; use 0444 for such containers',
      };
    });
}
