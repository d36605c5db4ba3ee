import type { PlanResult, Problem } from '../../../core/plan.ts';
import type { Parameters } from '../../../core/workload.ts';
import { parameterProblem } from '../../shared/class/parameters.ts';
import type { VaultNodeFacts, VaultLogin } from '../types.ts';
import { readLogin } from './login.ts';
import { readObjects } from './objects.ts';
import { readVaultParameters } from './parameters.ts';

/**
 * Compiles SecretProviderClasses of the providers of Vault or OpenBao. The two differ in the
 * prefixes of parameters and the default audience. Pure. Offline, without node facts, the plan
 * lacks what only the operator's settings give.
 */
export function planVault(dialect: VaultLogin['dialect']) {
  return (parameters: Parameters, nodeFacts?: VaultNodeFacts): PlanResult<VaultLogin> => {
    const problems: Problem[] = [];
    const report = (problem: Problem): void => void problems.push(problem);
    const skipped = new Set<string>();
    const getParameter = readVaultParameters(dialect, parameters, report);
    const skip = (check: string): void => void skipped.add(check);
    const login = readLogin(dialect, { getParameter, nodeFacts, report, skip });
    const objects = getParameter('objects');
    if (objects === undefined) {
      const hint = 'list the secrets to mount under it';
      report(parameterProblem('objects', 'the parameter `objects` is missing', hint));
      return { problems };
    }
    const { refs, files } = readObjects(parameters.objects ?? '', login, report);
    const failed = problems.some(({ severity }) => severity === 'error');
    return {
      ...(!failed && { plan: { refs, files, login } }),
      problems,
      ...(skipped.size > 0 && { skipped: [...skipped] }),
    };
  };
}
