import { sanitizeUserText } from '../core/safe-text.ts';

/** What {@link DsoProblem.code} can be. docs/docker/dso-yaml.md has a paragraph for each. */
export const problemCodes = [
  'INVALID_CONFIGURATION',
  'INVALID_REFERENCE',
  'MISPLACED_REFERENCE',
  'CANNOT_INJECT',
] as const;

/** A problem in dso.yaml or in a Compose application. */
export type DsoProblem = {
  /** An error stops the start. A warning does not. */
  readonly severity: 'error' | 'warning';
  readonly code: (typeof problemCodes)[number];
  /** Names the thing and the cause. Contains no secret, and is safe to show. */
  readonly message: string;
  /** The remedy. */
  readonly hint: string;
  /** The key that has the problem: `services.app.environment.DB_PASSWORD`. */
  readonly where: string;
  /** Where it stands in a file, if that is known. Line and column count from 1. */
  readonly place?: { readonly file: string; readonly line: number; readonly column: number };
};

/** The name of a key in a document: `secrets[0].inject.type`. Safe to show. */
export function keyPath(path: readonly PropertyKey[]): string {
  const text = path
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key).slice(0, 80)}`))
    .join('');
  return sanitizeUserText(text.replace(/^\./, ''));
}

const maxProblems = 100;

/** The first 100 problems, and one that counts the others. */
export function limitProblems(problems: readonly DsoProblem[]): readonly DsoProblem[] {
  if (problems.length <= maxProblems) return problems;
  // Errors first: a hundred warnings must not hide the error that stops the start.
  const ordered = [...problems].sort(
    (a, b) => Number(b.severity === 'error') - Number(a.severity === 'error'),
  );
  const [first] = ordered;
  if (first === undefined) return [];
  const message = `there are ${problems.length - maxProblems} more problems`;
  const hint = 'fix the ones above first';
  return [...ordered.slice(0, maxProblems), { ...first, message, hint, where: '' }];
}
