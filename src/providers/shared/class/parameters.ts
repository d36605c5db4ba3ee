import { SecretError } from '../../../core/errors.ts';
import type { Problem } from '../../../core/plan.ts';
import { quoteForeign } from '../../../core/safe-text.ts';
import type { Parameters } from '../../../core/workload.ts';
import { nearestName } from '../../../formats/suggest.ts';
import { regionHost } from '../../../http/endpoint.ts';

/** A parameter as it is written: its name, in whatever letter case, and its value. */
export type GivenParameter = { readonly name: string; readonly text: string };

/** Names are taken in any letter case, as keys of objects are; those that mean nothing to the provider are warned of. */
export function readParameters<Name extends string>(
  provider: string,
  known: readonly Name[],
  parameters: Parameters,
  report: (problem: Problem) => void,
): (name: Name) => GivenParameter | undefined {
  const given = new Map<string, GivenParameter>();
  for (const [name, text] of Object.entries(parameters)) {
    const folded = name.toLowerCase();
    const first = given.get(folded);
    if (!known.some((key) => key.toLowerCase() === folded)) report(unknown(provider, name, known));
    else if (first === undefined) given.set(folded, { name, text });
    else
      report(
        parameterFault(
          name,
          `the parameter ${quoteForeign(name)} is ${first.name} again`,
          'remove one of them',
        ),
      );
  }
  return (name) => given.get(name.toLowerCase());
}

/** As {@link readParameters} warns, where letter case counts. */
export function warnUnknownParameters(
  provider: string,
  known: readonly string[],
  parameters: Parameters,
  report: (problem: Problem) => void,
): void {
  for (const name of Object.keys(parameters))
    if (!known.includes(name)) report(unknown(provider, name, known));
}

/** That a parameter cannot be used. */
export function parameterFault(parameter: string, message: string, hint: string): Problem {
  return { severity: 'error', code: 'INVALID_CLASS', message, hint, parameter };
}

function unknown(provider: string, name: string, known: readonly string[]): Problem {
  const nearest = nearestName(name, known);
  return {
    severity: 'warning',
    code: 'INVALID_CLASS',
    message: `the parameter ${quoteForeign(name)} means nothing to ${provider}`,
    ...(nearest !== undefined && { hint: `did you mean ${nearest}?` }),
    parameter: name,
  };
}

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

/** Whether a text has the form of a region: hosts can be made of it. */
export function isRegion(text: string): boolean {
  try {
    regionHost('{region}.invalid', text);
    return true;
  } catch (error) {
    if (error instanceof SecretError) return false;
    throw error;
  }
}

/** A region out of a class; an empty one is none. `example` shows what the provider's look like. */
export function readRegion(
  given: GivenParameter | undefined,
  example: string,
  report: (problem: Problem) => void,
): string | undefined {
  if (given === undefined || given.text === '') return undefined;
  const { name, text } = given;
  if (!isRegion(text))
    report(
      parameterFault(name, `${name} is no region: ${quoteForeign(text)}`, `regions look like ${example}`),
    );
  return text;
}
