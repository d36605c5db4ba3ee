import { type ErrorCode, SecretError } from '../../../core/errors.ts';
import type { Problem } from '../../../core/plan.ts';
import type { Parameters } from '../../../core/workload.ts';
import { type GivenParameter, warnUnknownParameters } from '../../shared/class/parameters.ts';
import type { VaultFacts, VaultLogin } from '../types.ts';

/** Parameters with a prefix: `vaultAddress`. */
const prefixed = [
  'RoleName',
  'Address',
  'Namespace',
  'KubernetesMountPath',
  'AuthMountPath',
  'CACertPath',
  'CADirectory',
  'TLSServerName',
  'TLSClientCertPath',
  'TLSClientKeyPath',
  'SkipTLSVerify',
] as const;
const plain = ['objects', 'roleName', 'audience', 'authMethod', 'leaseScope'] as const;

/** Whoever stands first wins. */
const prefixesOf: Readonly<Record<VaultLogin['dialect'], readonly string[]>> = {
  vault: ['vault'],
  openbao: ['bao', 'openbao', 'vault'],
};

/** A parameter, without its prefix where it has one. */
export type VaultParameter = Exclude<(typeof prefixed)[number], 'RoleName'> | (typeof plain)[number];

/** The parameters of a class; an empty one is as good as none, as it is for the vendors' providers. */
export type VaultParameters = (name: VaultParameter) => GivenParameter | undefined;

/**
 * Finds parameters by their names without a prefix: `Address` is `baoAddress`, then `openbaoAddress`, then `vaultAddress` for openbao, and
 * `vaultAddress` alone for vault. A role with a prefix, which openbao alone knows, wins over the plain `roleName`. Letter case counts. What means
 * nothing is warned of.
 */
export function readVaultParameters(
  dialect: VaultLogin['dialect'],
  parameters: Parameters,
  report: (problem: Problem) => void,
): VaultParameters {
  const namesOf = (name: VaultParameter): readonly string[] => {
    const ofRole = dialect === 'openbao' ? [...withPrefixes(dialect, 'RoleName'), 'roleName'] : ['roleName'];
    if (name === 'roleName') return ofRole;
    return isPlain(name) ? [name] : withPrefixes(dialect, name);
  };
  const names = [...prefixed.filter((name) => name !== 'RoleName'), ...plain];
  warnUnknownParameters(dialect, names.flatMap(namesOf), parameters, report);
  return (name) => {
    for (const written of namesOf(name)) {
      const text = parameters[written]?.trim() ?? '';
      if (text !== '') return { name: written, text };
    }
    return undefined;
  };
}

function isPlain(name: string): boolean {
  return (plain as readonly string[]).includes(name);
}

function withPrefixes(dialect: VaultLogin['dialect'], name: string): readonly string[] {
  return prefixesOf[dialect].map((prefix) => prefix + name);
}

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
