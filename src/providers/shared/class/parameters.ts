import { SecretError } from '../../../core/errors.ts';
import type { Problem } from '../../../core/plan.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import type { Parameters } from '../../../core/workload.ts';
import { regionHost } from '../../../http/endpoint.ts';
import { type ClassNames, reportUnknownParameter } from './unknown-names.ts';

/** A parameter: its name, in the letter case of the class, and its value. */
export type RawParameter = { readonly name: string; readonly text: string };

/**
 * Makes the function that finds a parameter by its name, in any letter case. Reports parameters
 * that the provider does not know.
 */
export function readParameters<Name extends string>(
  names: ClassNames & { readonly parameters: readonly Name[] },
  parameters: Parameters,
  report: (problem: Problem) => void,
): (name: Name) => RawParameter | undefined {
  const rawParameters = new Map<string, RawParameter>();
  for (const [name, text] of Object.entries(parameters)) {
    const lowerCaseName = name.toLowerCase();
    const first = rawParameters.get(lowerCaseName);
    if (!names.parameters.some((key) => key.toLowerCase() === lowerCaseName))
      reportUnknownParameter({ name, text }, names, report);
    else if (first === undefined) rawParameters.set(lowerCaseName, { name, text });
    else
      report(
        parameterProblem(
          name,
          `the parameter ${sanitizeUserText(name)} is ${first.name} again`,
          'remove one of them',
        ),
      );
  }
  return (name) => rawParameters.get(name.toLowerCase());
}

/** Reports unknown parameters of a provider whose names are case-sensitive. */
export function reportUnknownParameters(
  names: ClassNames,
  parameters: Parameters,
  report: (problem: Problem) => void,
): void {
  for (const [name, text] of Object.entries(parameters))
    if (!names.parameters.includes(name)) reportUnknownParameter({ name, text }, names, report);
}

/** The problem of a parameter that cannot be used. */
export function parameterProblem(parameter: string, message: string, hint: string): Problem {
  return { severity: 'error', code: 'INVALID_CLASS', message, hint, parameter };
}

/** Converts the name of a secret, or an alias, to a file path. */
export type TranslatePath = (name: string) => string;

/**
 * Reads the parameter `pathTranslation`. A single character replaces every `/` (default `_`).
 * `false`, in any letter case, keeps directories and removes slashes at the beginning. Reports any
 * other value.
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
      `pathTranslation is neither one character, other than "/", nor "False": ${sanitizeUserText(text)}`,
      'leave it out for "_"; "False" keeps directories',
    ),
  );
  return (path) => path.replaceAll('/', '_');
}

/** Whether a text has the form of a region, so that it can be part of a host name. */
export function isRegion(text: string): boolean {
  try {
    regionHost('{region}.invalid', text);
    return true;
  } catch (error) {
    if (error instanceof SecretError) return false;
    throw error;
  }
}

/**
 * Reads a region of a class. An empty one counts as missing.
 * @param example a region of the provider, for the hint
 */
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
        `${name} is not a region: ${sanitizeUserText(text)}`,
        `regions look like ${example}`,
      ),
    );
  return text;
}
