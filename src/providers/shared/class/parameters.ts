import { SecretError } from '../../../core/errors.ts';
import type { Problem } from '../../../core/plan.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import type { Parameters } from '../../../core/workload.ts';
import { nearestName } from '../../../formats/suggest.ts';
import { regionHost } from '../../../http/endpoint.ts';

/** A parameter as it is written: its name, in whatever letter case, and its value. */
export type RawParameter = { readonly name: string; readonly text: string };

/** Names are taken in any letter case, as keys of objects are; those that mean nothing to the provider are warned of. */
export function readParameters<Name extends string>(
  provider: string,
  knownNames: readonly Name[],
  parameters: Parameters,
  report: (problem: Problem) => void,
): (name: Name) => RawParameter | undefined {
  const rawParameters = new Map<string, RawParameter>();
  for (const [name, text] of Object.entries(parameters)) {
    const lowerCaseName = name.toLowerCase();
    const first = rawParameters.get(lowerCaseName);
    if (!knownNames.some((key) => key.toLowerCase() === lowerCaseName))
      report(unknownParameter(provider, name, knownNames));
    else if (first === undefined) rawParameters.set(lowerCaseName, { name, text });
    else
      report(
        parameterProblem(
          name,
          `the parameter ${sanitizeExternalText(name)} is ${first.name} again`,
          'remove one of them',
        ),
      );
  }
  return (name) => rawParameters.get(name.toLowerCase());
}

/** As {@link readParameters} warns, where letter case counts. */
export function warnUnknownParameters(
  provider: string,
  knownNames: readonly string[],
  parameters: Parameters,
  report: (problem: Problem) => void,
): void {
  for (const name of Object.keys(parameters))
    if (!knownNames.includes(name)) report(unknownParameter(provider, name, knownNames));
}

/** That a parameter cannot be used. */
export function parameterProblem(parameter: string, message: string, hint: string): Problem {
  return { severity: 'error', code: 'INVALID_CLASS', message, hint, parameter };
}

function unknownParameter(provider: string, name: string, knownNames: readonly string[]): Problem {
  const nearest = nearestName(name, knownNames);
  return {
    severity: 'warning',
    code: 'INVALID_CLASS',
    message: `the parameter ${sanitizeExternalText(name)} means nothing to ${provider}`,
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
  rawParameter: RawParameter | undefined,
  report: (problem: Problem) => void,
): TranslatePath {
  const { name = '', text = '' } = rawParameter ?? {};
  if (text.toLowerCase() === 'false') return (path) => path.replace(/^\/+/, '');
  if (text === '' || /^[^/]$/u.test(text)) return (path) => path.replaceAll('/', () => text || '_');
  report(
    parameterProblem(
      name,
      `pathTranslation is neither one character, other than "/", nor "False": ${sanitizeExternalText(text)}`,
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
  rawParameter: RawParameter | undefined,
  example: string,
  report: (problem: Problem) => void,
): string | undefined {
  if (rawParameter === undefined || rawParameter.text === '') return undefined;
  const { name, text } = rawParameter;
  if (!isRegion(text))
    report(
      parameterProblem(
        name,
        `${name} is no region: ${sanitizeExternalText(text)}`,
        `regions look like ${example}`,
      ),
    );
  return text;
}
