import type { Problem } from '../../../core/plan.ts';

/**
 * Makes one problem of two that have one cause:
 * - a misspelt name is unknown, and the right one is missing. The unknown name fails the mount.
 * - a parameter is unknown, and an error says why.
 * - a text is read otherwise by the vendor's provider, and is an error here anyway.
 *
 * Takes little time for thousands of problems, because tenants write classes.
 */
export function mergeProblems(problems: readonly Problem[]): readonly Problem[] {
  const unknownNames = collectUnknownNames(problems);
  const errors = problems.filter(({ severity }) => severity === 'error');
  const errorPositions = new Set(errors.map(positionOf));
  const misspelt = new Set<Problem>();
  const merged = problems.filter((problem) => {
    const cause = misspellingOf(problem, unknownNames);
    if (cause !== undefined) misspelt.add(cause);
    return cause === undefined && !(isMinor(problem) && errorPositions.has(positionOf(problem)));
  });
  return merged.map((problem) =>
    misspelt.has(problem) ? { ...problem, severity: 'error' as const } : problem,
  );
}

/** Unknown names by the place where they are: an item, or `parameters`. */
type UnknownNames = ReadonlyMap<string, readonly Problem[]>;

function collectUnknownNames(problems: readonly Problem[]): UnknownNames {
  const unknownNames = new Map<string, Problem[]>();
  for (const problem of problems) {
    const [, item, parameter] =
      /^(?:(item .*?) has an unknown key: |(the parameter ).* is unknown to )/.exec(
        problem.message,
      ) ?? [];
    const place = parameter === undefined ? item : 'parameters';
    if (place === undefined) continue;
    const ofPlace = unknownNames.get(place) ?? [];
    unknownNames.set(place, ofPlace);
    ofPlace.push(problem);
  }
  return unknownNames;
}

/**
 * The problem of the unknown name that was meant to be the one that this problem misses. A key of
 * an object can be meant as a parameter.
 */
function misspellingOf({ message }: Problem, unknownNames: UnknownNames): Problem | undefined {
  const [, parameter, item, key] =
    /^the parameter `(\w+)` is missing$|^(item .*) has no (\w+)$/.exec(message) ?? [];
  const name = parameter ?? key;
  if (name === undefined) return undefined;
  const isSuggested = new RegExp(`\\b${name}\\b`);
  const places = item === undefined ? [...unknownNames.values()] : [unknownNames.get(item) ?? []];
  return places.flat().find(({ hint = '' }) => isSuggested.test(hint));
}

/** A hint, or a warning about a whole parameter. */
function isMinor({ severity, line }: Problem): boolean {
  return severity === 'hint' || (severity === 'warning' && line === undefined);
}

function positionOf({ parameter = '', line = 0, column = 0 }: Problem): string {
  return `${line}:${column} ${parameter}`;
}
