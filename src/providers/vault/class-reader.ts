import { SecretError } from '../../errors/secret-error.ts';
import type { ErrorCode } from '../../errors/codes.ts';
import type { Problem } from '../../plan/plan.ts';
import type { GivenParameter } from '../class-parameters.ts';
import type { VaultFacts } from './facts.ts';
import type { VaultParameters } from './prefixes.ts';

/** What a class is read with. */
export type ClassReader = {
  readonly given: VaultParameters;
  /** None offline. */
  readonly facts: VaultFacts | undefined;
  readonly report: (problem: Problem) => void;
  /** Takes down a check that needs facts. */
  readonly skip: (check: string) => void;
};

/** Takes down that a parameter cannot be used: its name and `fault` make the message. */
export function refuse(
  { report }: ClassReader,
  { name }: GivenParameter,
  fault: string,
  hint: string,
  code: ErrorCode = 'INVALID_CLASS',
): void {
  const message = fault.startsWith(':') ? name + fault : `${name} ${fault}`;
  report({ severity: 'error', code, message, hint, parameter: name });
}

/** Takes down that a parameter asks for what only the operator may give; offline nobody knows. */
export function refuseUnallowed(
  reader: ClassReader,
  given: GivenParameter,
  { fault, toDo, check }: { readonly fault: string; readonly toDo: string; readonly check: string },
): void {
  if (reader.facts === undefined) reader.skip(check);
  else refuse(reader, given, fault, `the operator has to ${toDo}`, 'NOT_ALLOWED_FROM_CLASS');
}

/** Whether it was this failure. */
export function isCode(thrown: unknown, code: ErrorCode): thrown is SecretError {
  return thrown instanceof SecretError && thrown.code === code;
}
