import type { Problem } from '../../../core/plan.ts';

/**
 * Makes one problem of two that have one cause:
 * - a misspelt name is unknown, and the right one is missing. The unknown name fails the mount.
 * - a parameter is unknown, and an error says why.
 * - a text is read otherwise by the vendor's provider, and is an error here anyway.
 */
export function mergeProblems(problems: readonly Problem[]): readonly Problem[] {
  const misspelt = new Set<Problem>();
  const merged = problems.filter((problem) => {
    const missing = missingName(problem);
    const cause =
      missing === undefined
        ? undefined
        : problems.find((other) => isMisspelling(other, problem, missing));
    if (cause !== undefined) misspelt.add(cause);
    return cause === undefined && !isExplained(problem, problems);
  });
  return merged.map((problem) =>
    misspelt.has(problem) ? { ...problem, severity: 'error' as const } : problem,
  );
}

/** The name that a problem reports as missing. */
function missingName({ message }: Problem): string | undefined {
  const [, parameter, key] =
    /^the parameter `(\w+)` is missing$|^item .* has no (\w+)$/.exec(message) ?? [];
  return parameter ?? key;
}

/** Whether a problem reports a name, of the same item, that the missing one was meant to be. */
function isMisspelling(other: Problem, { message }: Problem, missing: string): boolean {
  const item = /^(item .*) has no \w+$/.exec(message)?.[1];
  const isOfSamePlace =
    item === undefined
      ? other.message.startsWith('the parameter ') && other.line === undefined
      : other.message.startsWith(`${item} has an unknown key: `);
  return (
    isOfSamePlace &&
    missingName(other) === undefined &&
    new RegExp(`\\b${missing}\\b`).test(other.hint ?? '')
  );
}

/** Whether there is an error at the place of a hint, or about the whole parameter of a warning. */
function isExplained(problem: Problem, all: readonly Problem[]): boolean {
  const { severity, parameter, line, column } = problem;
  const isWholeParameter = parameter !== undefined && line === undefined;
  if (severity === 'error' || (severity === 'warning' && !isWholeParameter)) return false;
  return all.some(
    (other) =>
      other.severity === 'error' &&
      other.parameter === parameter &&
      other.line === line &&
      other.column === column,
  );
}
