import { quoteForeign } from '../../errors/status-text.ts';
import type { PlanResult, Problem } from '../../plan/plan.ts';
import type { Parameters } from '../../plan/workload.ts';
import { parameterFault as fault, warnUnknownParameters } from '../class-parameters.ts';
import { readObjects } from './objects.ts';

/** How a class wants to log in. */
export type CceLogin =
  /** As the operator configured it for the whole cluster. */
  | { readonly identity: 'cluster' }
  /** By the pod's own token, exchanged for a session of an agency. */
  | {
      readonly identity: 'pod';
      readonly agencyUrn: string;
      readonly providerUrn: string;
      readonly audience: string;
    };

const podKeys = ['agencyUrn', 'providerUrn', 'audience'] as const;
const known = ['objects', 'usePodOIDC', ...podKeys];

/** The audience of the token that is exchanged, unless the class names another. */
export const defaultAudience = 'sts.huaweicloud.com';

/** Compiles a SecretProviderClass of the CCE Secrets Manager for DEW add-on. Pure. */
export function planCce(parameters: Parameters): PlanResult<CceLogin> {
  const problems: Problem[] = [];
  const report = (problem: Problem): void => void problems.push(problem);
  warnUnknownParameters('cce', known, parameters, report);
  const login = readLogin(parameters, report);
  const { objects } = parameters;
  if (objects === undefined) {
    report(fault('objects', 'the parameter `objects` is missing', 'list the secrets to mount under it'));
    return { problems };
  }
  const { refs, files } = readObjects(objects, report);
  const failed = problems.some(({ severity }) => severity === 'error');
  return failed ? { problems } : { plan: { refs, files, login }, problems };
}

function readLogin(parameters: Parameters, report: (problem: Problem) => void): CceLogin {
  const { usePodOIDC = 'false', agencyUrn = '', providerUrn = '', audience = defaultAudience } = parameters;
  if (usePodOIDC !== 'true') {
    if (usePodOIDC !== 'false')
      report(
        fault(
          'usePodOIDC',
          `usePodOIDC is neither "true" nor "false": ${quoteForeign(usePodOIDC)}`,
          'write usePodOIDC: "true"',
        ),
      );
    // A class that believes to run under an identity of its own must not silently run under the cluster's.
    for (const key of podKeys.filter((name) => parameters[name] !== undefined))
      report(fault(key, `${key} means nothing without usePodOIDC`, 'add usePodOIDC: "true", or remove it'));
    return { identity: 'cluster' };
  }
  const given = { agencyUrn, providerUrn, audience };
  for (const key of podKeys) {
    if (given[key] === '')
      report(fault(key, `usePodOIDC needs the parameter ${key}`, `see docs/providers/cce.md for an example`));
    else if (!/^[\x21-\x7e]{1,1500}$/.test(given[key]))
      report(fault(key, `${key} has spaces or unusual characters, or is too long`, 'copy it anew'));
  }
  return { identity: 'pod', ...given };
}
