import type { Problem } from '../../plan/plan.ts';
import type { Parameters } from '../../plan/workload.ts';
import { warnUnknownParameters, type GivenParameter } from '../class-parameters.ts';
import type { VaultLogin } from './login.ts';

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
