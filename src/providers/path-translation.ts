import { quoteForeign } from '../errors/status-text.ts';
import type { Problem } from '../plan/plan.ts';
import { parameterFault, type GivenParameter } from './class-parameters.ts';

/** Makes a file's path of a secret's name or an alias. */
export type TranslatePath = (name: string) => string;

/**
 * How the parameter `pathTranslation` is meant: one character that replaces every `/` (default `_`), or `false`, in any letter case:
 * then names keep their directories and lose what leads to the root. All else is reported.
 */
export function readPathTranslation(
  given: GivenParameter | undefined,
  report: (problem: Problem) => void,
): TranslatePath {
  const { name = '', text = '' } = given ?? {};
  if (text.toLowerCase() === 'false') return (path) => path.replace(/^\/+/, '');
  if (text === '' || /^[^/]$/u.test(text)) return (path) => path.replaceAll('/', () => text || '_');
  report(
    parameterFault(
      name,
      `pathTranslation is neither one character, other than "/", nor "False": ${quoteForeign(text)}`,
      'leave it out for "_"; "False" keeps directories',
    ),
  );
  return (path) => path.replaceAll('/', '_');
}
