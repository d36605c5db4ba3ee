import { type ErrorCode, SecretError } from '../../../core/errors.ts';
import type { Problem } from '../../../core/plan.ts';
import type { Parameters } from '../../../core/workload.ts';
import { fileOptionKeys } from '../../shared/class/files.ts';
import { type RawParameter, reportUnknownParameters } from '../../shared/class/parameters.ts';
import type { ClassNames } from '../../shared/class/unknown-names.ts';
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

/** The keys of an object. */
export const objectKeys = [
  'objectName',
  'secretPath',
  'secretKey',
  'method',
  'secretArgs',
  'optional',
  ...fileOptionKeys,
];

/** The first one wins. */
const prefixesOf: Readonly<Record<VaultLogin['dialect'], readonly string[]>> = {
  vault: ['vault'],
  openbao: ['bao', 'openbao', 'vault'],
};

/** A parameter, without its prefix where it has one. */
export type VaultParameter =
  Exclude<(typeof prefixedNames)[number], 'RoleName'> | (typeof unprefixedNames)[number];

/** Finds a parameter of a class. An empty one counts as missing, as for the vendors' providers. */
export type VaultParameters = (name: VaultParameter) => RawParameter | undefined;

/**
 * Finds parameters by their names without a prefix. For vault, `Address` is `vaultAddress`. For
 * openbao it is `baoAddress`, then `openbaoAddress`, then `vaultAddress`. A role with a prefix,
 * which only openbao has, wins over `roleName`. Letter case counts. Unknown parameters are
 * reported.
 */
export function readVaultParameters(
  dialect: VaultLogin['dialect'],
  parameters: Parameters,
  report: (problem: Problem) => void,
): VaultParameters {
  reportUnknownParameters(classNamesOf(dialect), parameters, report);
  return (name) => {
    for (const parameterName of spellingsOf(dialect, name)) {
      const text = parameters[parameterName]?.trim() ?? '';
      if (text !== '') return { name: parameterName, text };
    }
    return undefined;
  };
}

/** The names that the classes of a dialect have. */
export function classNamesOf(dialect: VaultLogin['dialect']): ClassNames {
  const names = [...prefixedNames.filter((name) => name !== 'RoleName'), ...unprefixedNames];
  return {
    provider: dialect,
    parameters: names.flatMap((name) => spellingsOf(dialect, name)),
    objectKeys,
    remedies: {
      region: 'remove it: Vault has no regions',
      key: 'write authMethod, and put it into a Secret for nodePublishSecretRef',
    },
    otherProviderOf: (name) =>
      dialect === 'vault' && /^(open)?bao/i.test(name) ? 'openbao' : undefined,
  };
}

function spellingsOf(dialect: VaultLogin['dialect'], name: VaultParameter): readonly string[] {
  if (name === 'roleName' && dialect === 'openbao')
    return [...withPrefixes(dialect, 'RoleName'), name];
  return isUnprefixed(name) ? [name] : withPrefixes(dialect, name);
}

function isUnprefixed(name: string): boolean {
  return (unprefixedNames as readonly string[]).includes(name);
}

function withPrefixes(dialect: VaultLogin['dialect'], name: string): readonly string[] {
  return prefixesOf[dialect].map((prefix) => prefix + name);
}

/** What reading a class needs. */
export type ClassReader = {
  readonly getParameter: VaultParameters;
  /** Undefined offline. */
  readonly nodeFacts: VaultNodeFacts | undefined;
  readonly report: (problem: Problem) => void;
  /** Records a check that needs node facts and is skipped. */
  readonly skip: (check: string) => void;
};

/** Reports that a parameter cannot be used. The message is its name and `problem`. */
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

/**
 * Reports a parameter that the operator does not allow. Offline this is not known, so it is
 * skipped.
 */
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

/** Whether `thrown` is a SecretError with this code. */
export function hasErrorCode(thrown: unknown, code: ErrorCode): thrown is SecretError {
  return thrown instanceof SecretError && thrown.code === code;
}
