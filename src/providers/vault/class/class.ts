import type { PlanResult } from '../../../core/plan.ts';
import type { Parameters } from '../../../core/workload.ts';
import type { Steps } from '../../../core/steps.ts';
import { compileClass, reportMissingObjects } from '../../shared/class/compile-class.ts';
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
  return (parameters: Parameters, nodeFacts?: VaultNodeFacts): Steps<PlanResult<VaultLogin>> =>
    compileClass(function* (reporter) {
      const { report, skip } = reporter;
      const getParameter = readVaultParameters(dialect, parameters, report);
      const login = readLogin(dialect, { getParameter, nodeFacts, report, skip });
      if (getParameter('objects') === undefined) return reportMissingObjects(reporter, parameters);
      const { refs, files } = yield* readObjects(parameters.objects ?? '', login, report);
      return { refs, files, login };
    });
}
