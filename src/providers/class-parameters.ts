import { quoteForeign } from '../errors/status-text.ts';
import { nearestName } from '../plan/nearest.ts';
import type { Problem } from '../plan/plan.ts';
import type { Parameters } from '../plan/workload.ts';

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
