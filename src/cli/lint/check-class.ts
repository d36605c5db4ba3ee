import { type Plan, type Problem, problemText } from '../../core/plan.ts';
import type { Provider } from '../../core/provider.ts';
import { runSteps } from '../../core/steps.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { nearestName } from '../../formats/suggest.ts';
import type { SecretProviderClass } from './class-object.ts';
import type { Diagnostic } from './diagnostic.ts';
import { suggestProvider } from './foreign-class.ts';
import { isTemplate, templateHint } from './template.ts';

/** What lint needs of a provider. */
export type Planner = Pick<Provider, 'name' | 'plan'>;

/** The result of checking a class offline. */
export type ClassCheck = {
  readonly diagnostics: readonly Diagnostic[];
  /** Checks that need a cluster or a node, one phrase each. */
  readonly skipped: readonly string[];
};

/** Checks a class with the provider's `plan()`, and its file names against the plan. */
export function checkClass(spc: SecretProviderClass, planners: readonly Planner[]): ClassCheck {
  const own = [...spc.diagnostics, ...spc.syncDiagnostics];
  const planner = planners.find(({ name }) => name === spc.provider);
  if (planner === undefined)
    return { diagnostics: [...own, ...unknownProvider(spc, planners)], skipped: [] };
  if (!spc.hasParameters) return { diagnostics: own, skipped: [] };
  const { plan, problems, skipped = [] } = runSteps(planner.plan(spc.parameters));
  const diagnostics = [
    ...own,
    ...oneOfEachTemplate(problems, spc.parameters)
      .filter((problem) => !isReported(spc, problem))
      .map((problem) => toDiagnostic(spc, problem)),
  ];
  if (plan !== undefined)
    return {
      diagnostics: [...diagnostics, ...checkSyncedFiles(spc, plan), ...checkModes(spc, plan)],
      skipped,
    };
  const unchecked = spc.syncedFiles.length === 0 ? [] : ['the file names in secretObjects'];
  return { diagnostics, skipped: [...skipped, ...unchecked] };
}

/** Of all problems of a parameter that is a template, the first, with the remedy for templates. */
function oneOfEachTemplate(
  problems: readonly Problem[],
  parameters: SecretProviderClass['parameters'],
): readonly Problem[] {
  const seen = new Set<string>();
  return problems.flatMap((problem) => {
    const { parameter = '' } = problem;
    if (!isTemplate(parameters[parameter] ?? '')) return [problem];
    if (seen.has(parameter)) return [];
    seen.add(parameter);
    return [{ ...problem, hint: templateHint }];
  });
}

/** Whether the class has a diagnostic about the whole parameter already. */
function isReported({ reportedParameters }: SecretProviderClass, problem: Problem): boolean {
  const { parameter, line } = problem;
  return line === undefined && reportedParameters.has(parameter?.toLowerCase() ?? '');
}

/** A diagnostic of the class. Errors have the code INVALID_CLASS, unless another is given. */
function diagnosticOf(
  { name, namespace }: SecretProviderClass,
  fields: Omit<Diagnostic, 'class' | 'namespace'>,
): Diagnostic {
  const { place, severity, code = 'INVALID_CLASS', message, remedy } = fields;
  return {
    place,
    severity,
    ...(severity === 'error' && { code }),
    class: name,
    namespace,
    message,
    ...(remedy !== undefined && { remedy }),
  };
}

function unknownProvider(spc: SecretProviderClass, planners: readonly Planner[]): Diagnostic[] {
  if (spc.provider === '') return [];
  const knownNames = planners.map(({ name }) => name);
  const suggestion = suggestProvider(spc.provider, knownNames);
  return [
    diagnosticOf(spc, {
      place: spc.providerLocation,
      severity: 'error',
      message: `no provider "${sanitizeUserText(spc.provider)}"`,
      remedy:
        suggestion === undefined
          ? `Keyferry serves ${knownNames.join(', ')}`
          : `did you mean ${suggestion}?`,
    }),
  ];
}

/**
 * Warnings are errors here. A mount only logs them, because the vendors' own providers ignore such
 * mistakes. Lines are those of the file, where it shows the parameter line by line.
 */
function toDiagnostic(spc: SecretProviderClass, problem: Problem): Diagnostic {
  const { parameter, line = 1, firstLine } = problem;
  const { exact, ...place } = spc.locationOf(parameter, problem.line, problem.column);
  const locationText = exact
    ? ''
    : ` (line ${line} of parameter "${sanitizeUserText(parameter ?? '')}")`;
  // A block has the file's lines.
  const fileFirstLine =
    firstLine !== undefined && exact ? { firstLine: firstLine + place.line - line } : {};
  return diagnosticOf(spc, {
    place,
    severity: problem.severity === 'hint' ? 'hint' : 'error',
    code: problem.code,
    message: problemText({ ...problem, ...fileFirstLine }) + locationText,
    ...(problem.hint !== undefined && { remedy: problem.hint }),
  });
}

/**
 * If a file is missing, the driver does not create the Secret, and it logs an error every two
 * seconds.
 */
function checkSyncedFiles(spc: SecretProviderClass, plan: Plan): Diagnostic[] {
  const paths = plan.files.map(({ path }) => path);
  return spc.syncedFiles
    .filter(({ objectName }) => !paths.includes(objectName))
    .map(({ objectName, place }) => {
      const suggestion = nearestName(objectName, paths);
      return diagnosticOf(spc, {
        place,
        severity: 'error',
        message: `secretObjects names the file "${sanitizeUserText(objectName)}", which this class does not make`,
        remedy:
          suggestion === undefined
            ? `it makes ${sanitizeUserText(paths.join(', '))}`
            : `did you mean ${sanitizeUserText(suggestion)}?`,
      });
    });
}

/** Files belong to root and fsGroup has no effect, so other users need the read bit for others. */
function checkModes(spc: SecretProviderClass, plan: Plan): Diagnostic[] {
  return plan.files
    .filter(({ mode = 0o444 }) => (mode & 0o004) === 0)
    .map(({ path, mode = 0 }) => {
      const octal = mode.toString(8).padStart(4, '0');
      const { file, line, column } = spc.locationOf('objects');
      return diagnosticOf(spc, {
        place: { file, line, column },
        severity: 'hint',
        message:
          `file "${sanitizeUserText(path)}" has mode ${octal} and belongs to root: ` +
          'a container that does not run as root cannot read it',
        remedy: 'fsGroup has no effect on this volume; use 0444 for such containers',
      });
    });
}
