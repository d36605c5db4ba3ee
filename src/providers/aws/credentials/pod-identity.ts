import * as z from 'zod';
import type { Retry } from '../../../concurrency/retry.ts';
import { SecretError, toSecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import type { HttpClient, HttpResponse } from '../../../http/client.ts';
import { readBody } from '../../../http/response.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { digestOf } from '../../shared/identity/fingerprint.ts';
import { classify, isKnownError } from '../../shared/reads/store-errors.ts';
import type { AwsCloudConfig } from '../config.ts';
import { agentErrors, parseAgentErrorResponse, transientAgentErrors } from '../errors.ts';
import type { AwsCredential, AwsCredentialRequest } from '../types.ts';

/** For each of the two addresses. The agent itself calls EKS in this time. */
const timeoutMs = 5_000;

type AddressFamily = 'ipv4' | 'ipv6';
type PodIdentityRequest = Extract<AwsCredentialRequest, { kind: 'pod-identity' }>;

const sessionSchema = z.object({
  AccessKeyId: z.string().min(1),
  SecretAccessKey: z.string().min(1),
  Token: z.string().min(1),
  AccountId: z.string().min(1).optional(),
  Expiration: z
    .string()
    .transform((text) => Date.parse(text))
    .refine((at) => !Number.isNaN(at)),
});

/**
 * Obtains sessions from the agent of EKS Pod Identity on this node. It sends the request itself and
 * without a proxy: the SDK's provider would let `AWS_CONTAINER_*` of Keyferry's own environment
 * decide whose session it is. Where both addresses are allowed, the one that responded last is
 * first.
 */
export function createPodIdentity(deps: {
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly credentialGate: CredentialGate;
  readonly agent: AwsCloudConfig['podIdentityAgent'];
  readonly now: () => number;
}): (request: PodIdentityRequest, signal: AbortSignal) => Promise<AwsCredential> {
  const { http, retry, credentialGate, agent, now } = deps;
  let lastResponsive: AddressFamily = 'ipv4';

  const requestAt = async (
    family: AddressFamily,
    token: string,
    signal: AbortSignal,
  ): Promise<HttpResponse> => {
    const response = await http.request({
      method: 'GET',
      url: new URL('/v1/credentials', agent[family]),
      headers: { authorization: token },
      ...{ signal, timeoutMs, direct: true },
    });
    lastResponsive = family;
    return response;
  };

  /** Tries the second address after the first one failed with `firstError`. */
  const requestAtOther = async (
    first: AddressFamily,
    firstError: SecretError,
    token: string,
    signal: AbortSignal,
  ): Promise<HttpResponse> => {
    try {
      return await requestAt(first === 'ipv4' ? 'ipv6' : 'ipv4', token, signal);
    } catch (thrown) {
      signal.throwIfAborted();
      const { code, message } = toSecretError(thrown);
      throw new SecretError(code, `${firstError.message}, and ${message}`);
    }
  };

  /** Returns any response that is not a transient error. */
  const requestSession = (
    { addressType }: PodIdentityRequest,
    token: string,
    signal: AbortSignal,
  ): Promise<HttpResponse> =>
    retry.run(
      agent.ipv4.host,
      signal,
      async () => {
        const first = addressType === 'auto' ? lastResponsive : addressType;
        const response = await requestAt(first, token, signal).catch((thrown: unknown) => {
          signal.throwIfAborted();
          if (addressType !== 'auto') throw thrown;
          return requestAtOther(first, toSecretError(thrown), token, signal);
        });
        if (response.status === 200) return response;
        const error = parseAgentErrorResponse(response, now());
        if (isKnownError(transientAgentErrors, error))
          throw classify(transientAgentErrors, error, undefined, [token]);
        return response;
      },
      ({ kind }) => kind === 'outage',
    );

  return (request, signal) => {
    const token = request.token.reveal();
    return credentialGate.run(digestOf('pod-identity', token), signal, async () => {
      const response = await requestSession(request, token, signal);
      if (response.status !== 200)
        throw classify(agentErrors, parseAgentErrorResponse(response, now()), undefined, [token]);
      const session = readBody(response, sessionSchema, 'the agent of EKS Pod Identity');
      return {
        accessKeyId: session.AccessKeyId,
        secretAccessKey: new Redacted(session.SecretAccessKey),
        sessionToken: new Redacted(session.Token),
        expiresAt: session.Expiration,
        account: session.AccountId ?? 'the account of EKS Pod Identity',
      };
    });
  };
}
