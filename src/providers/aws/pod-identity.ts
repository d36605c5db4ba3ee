import { SecretError } from '../../errors/secret-error.ts';
import type { Workload } from '../../plan/workload.ts';
import { readWorkloadToken, type WorkloadToken } from '../workload-token.ts';

/** The audience of the tokens that the agent of EKS Pod Identity takes. */
export const podIdentityAudience = 'pods.eks.amazonaws.com';

/**
 * The pod's token for the agent. EKS gives the session the name and uid of the pod that the token is bound to, so it must be this pod's.
 * @throws SecretError TOKEN_MISSING, TOKEN_INVALID
 */
export function readPodIdentityToken(workload: Workload, now: number): WorkloadToken {
  const token = readWorkloadToken(workload, podIdentityAudience, now);
  if (token.podUid !== undefined && token.podUid !== workload.instance)
    throw new SecretError(
      'TOKEN_INVALID',
      `the pod's token for the audience ${podIdentityAudience} is bound to another pod`,
    );
  return token;
}
