import { SecretError } from '../errors/secret-error.ts';
import { quoteForeign } from '../errors/status-text.ts';
import { regionHost } from '../http/endpoint.ts';
import type { Problem } from '../plan/plan.ts';
import { parameterFault, type GivenParameter } from './class-parameters.ts';

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
