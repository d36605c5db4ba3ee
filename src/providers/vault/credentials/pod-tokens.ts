import { SecretError } from '../../../core/errors.ts';
import type { Workload } from '../../../core/workload.ts';
import type { TokenRequests } from '../../../kube/token-requests.ts';
import {
  type WorkloadToken,
  checkPodOfToken,
  readWorkloadToken,
} from '../../shared/identity/workload-token.ts';
import type { VaultIdentity } from '../types.ts';

/** The token of a pod. */
export type PodToken = {
  readonly claims: Pick<WorkloadToken, 'issuer' | 'serviceAccountUid'>;
  readonly getCredential: VaultIdentity['getCredential'];
};

/**
 * Finds the token of a pod for an audience: the driver's, else, where the operator allows it, one
 * that the API server issues for this pod. An invalid token of the driver is an error, and never
 * replaced.
 * @throws SecretError TOKEN_MISSING, which names the audience and both remedies; TOKEN_INVALID;
 *   what {@link TokenRequests} throws
 */
export type PodTokens = (
  workload: Workload,
  audience: string,
  signal: AbortSignal,
) => Promise<PodToken>;

/** See {@link PodTokens}. Without `requests` Keyferry requests no token from the API server. */
export function createPodTokens({
  requests,
  now,
}: {
  readonly requests: TokenRequests | undefined;
  readonly now: () => number;
}): PodTokens {
  return async (workload, audience, signal) => {
    const { tenant: namespace, identity: serviceAccount, pod } = workload;
    if (workload.tokens.has(audience) || requests === undefined || pod === undefined) {
      const { token, ...claims } = readDriverToken(workload, audience, now());
      return { claims, getCredential: () => Promise.resolve({ kind: 'jwt', token }) };
    }
    const tokenRequest = { namespace, serviceAccount: serviceAccount.name, pod, audience };
    const requestToken = async (requestSignal: AbortSignal): Promise<WorkloadToken> => {
      const token = await requests.get({ ...tokenRequest, signal: requestSignal });
      const owner = {
        tenant: namespace,
        identity: serviceAccount,
        tokens: new Map([[audience, { token }]]),
      };
      return readWorkloadToken(owner, audience, now());
    };
    const { issuer, serviceAccountUid } = await requestToken(signal);
    return {
      claims: { issuer, serviceAccountUid },
      getCredential: async (requestSignal) => ({
        kind: 'jwt',
        token: (await requestToken(requestSignal)).token,
      }),
    };
  };
}

function readDriverToken(workload: Workload, audience: string, now: number): WorkloadToken {
  try {
    const token = readWorkloadToken(workload, audience, now);
    checkPodOfToken(workload, token, audience);
    return token;
  } catch (thrown) {
    if (!(thrown instanceof SecretError) || thrown.code !== 'TOKEN_MISSING') throw thrown;
    throw new SecretError('TOKEN_MISSING', thrown.message, {
      hint: `${thrown.hint ?? ''}, or let Keyferry request tokens itself: KEYFERRY_VAULT_TOKEN_REQUESTS=true`,
    });
  }
}
