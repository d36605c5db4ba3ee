import { type ErrorCode, SecretError } from '../../../core/errors.ts';
import type { Problem } from '../../../core/plan.ts';
import type { Parameters } from '../../../core/workload.ts';
import { type RawParameter, warnUnknownParameters } from '../../shared/class/parameters.ts';
import type { VaultNodeFacts, VaultLogin } from '../types.ts';

/** Parameters with a prefix: `vaultAddress`. */
const prefixedNames = [
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
const unprefixedNames = ['objects', 'roleName', 'audience', 'authMethod', 'leaseScope'] as const;

/** Whoever stands first wins. */
const prefixesOf: Readonly<Record<VaultLogin['dialect'], readonly string[]>> = {
  vault: ['vault'],
  openbao: ['bao', 'openbao', 'vault'],
};

/** A parameter, without its prefix where it has one. */
export type VaultParameter =
  Exclude<(typeof prefixedNames)[number], 'RoleName'> | (typeof unprefixedNames)[number];

/** The parameters of a class; an empty one is as good as none, as it is for the vendors' providers. */
export type VaultParameters = (name: VaultParameter) => RawParameter | undefined;

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
    const roleNames =
      dialect === 'openbao' ? [...withPrefixes(dialect, 'RoleName'), 'roleName'] : ['roleName'];
    if (name === 'roleName') return roleNames;
    return isUnprefixed(name) ? [name] : withPrefixes(dialect, name);
  };
  const names = [...prefixedNames.filter((name) => name !== 'RoleName'), ...unprefixedNames];
  warnUnknownParameters(dialect, names.flatMap(namesOf), parameters, report);
  return (name) => {
    for (const parameterName of namesOf(name)) {
      const text = parameters[parameterName]?.trim() ?? '';
      if (text !== '') return { name: parameterName, text };
    }
    return undefined;
  };
}

function isUnprefixed(name: string): boolean {
  return (unprefixedNames as readonly string[]).includes(name);
}

function withPrefixes(dialect: VaultLogin['dialect'], name: string): readonly string[] {
  return prefixesOf[dialect].map((prefix) => prefix + name);
}

/** What a class is read with. */
export type ClassReader = {
  readonly getParameter: VaultParameters;
  /** None offline. */
  readonly nodeFacts: VaultNodeFacts | undefined;
  readonly report: (problem: Problem) => void;
  /** Takes down a check that needs facts. */
  readonly skip: (check: string) => void;
};

/** Takes down that a parameter cannot be used: its name and `fault` make the message. */
export function reportInvalid(
  { report }: ClassReader,
  { name }: RawParameter,
  problem: string,
  hint: string,
  code: ErrorCode = 'INVALID_CLASS',
): void {
  const message = problem.startsWith(':') ? name + problem : `${name} ${problem}`;
  report({ severity: 'error', code, message, hint, parameter: name });
}

/** Takes down that a parameter asks for what only the operator may give; offline nobody knows. */
export function reportNotAllowed(
  reader: ClassReader,
  parameter: RawParameter,
  {
    problem,
    operatorAction,
    check,
  }: { readonly problem: string; readonly operatorAction: string; readonly check: string },
): void {
  if (reader.nodeFacts === undefined) reader.skip(check);
  else
    reportInvalid(
      reader,
      parameter,
      problem,
      `the operator has to ${operatorAction}`,
      'NOT_ALLOWED_FROM_CLASS',
    );
}

/** Whether it was this failure. */
export function hasErrorCode(thrown: unknown, code: ErrorCode): thrown is SecretError {
  return thrown instanceof SecretError && thrown.code === code;
}
