import * as z from 'zod';
import { Redacted } from '../../../core/redacted.ts';
import { SecretError, toSecretError } from '../../../core/errors.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import type { Retry } from '../../../concurrency/retry.ts';
import { readBody } from '../../../http/response.ts';
import type { HttpClient, HttpResponse } from '../../../http/client.ts';
import { digestOf } from '../../shared/identity/fingerprint.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import type { AwsCloudConfig } from '../types.ts';
import type { AwsCredential, AwsIdentity } from '../types.ts';

/** For each of the two addresses: the agent itself asks EKS meanwhile. */
const timeoutMs = 5_000;

type Family = 'ipv4' | 'ipv6';
type PodIdentity = Extract<AwsIdentity, { kind: 'pod-identity' }>;

const session = z.object({
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
 * Asks the agent of EKS Pod Identity on this node, directly: no proxy, and nothing of our own environment (`AWS_CONTAINER_*` is what the SDK's
 * provider would prefer to what it is told) decides whose session it is. Where either address will do, the one that answered last is asked
 * first.
 */
export function createPodIdentity(deps: {
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly proving: CredentialGate;
  readonly agent: AwsCloudConfig['podIdentityAgent'];
}): (identity: PodIdentity, signal: AbortSignal) => Promise<AwsCredential> {
  const { http, retry, proving, agent } = deps;
  let answeredLast: Family = 'ipv4';

  const ask = async (family: Family, token: string, signal: AbortSignal): Promise<HttpResponse> => {
    const url = new URL('/v1/credentials', agent[family]);
    const headers = { authorization: token };
    const answer = await http.request({
      method: 'GET',
      url,
      headers,
      signal,
      timeoutMs,
      direct: true,
    });
    answeredLast = family;
    return answer;
  };

  /** Any answer but those that pass by themselves. */
  const askEither = (identity: PodIdentity, signal: AbortSignal): Promise<HttpResponse> => {
    const { addressType } = identity;
    const token = identity.token.reveal();
    return retry.run(
      agent.ipv4.host,
      signal,
      async () => {
        const first = addressType === 'auto' ? answeredLast : addressType;
        const answer = await ask(first, token, signal).catch((thrown: unknown) => {
          signal.throwIfAborted();
          if (addressType !== 'auto') throw thrown;
          return askOther(first, toSecretError(thrown), token, signal);
        });
        if (answer.status === 429 || answer.status >= 500)
          throw new SecretError(
            answer.status === 429 ? 'STORE_THROTTLED' : 'STORE_UNAVAILABLE',
            `the agent failed ${describe(answer, token)}`,
          );
        return answer;
      },
      ({ kind }) => kind === 'outage',
    );
  };

  const askOther = async (
    first: Family,
    error: SecretError,
    token: string,
    signal: AbortSignal,
  ): Promise<HttpResponse> => {
    try {
      return await ask(first === 'ipv4' ? 'ipv6' : 'ipv4', token, signal);
    } catch (thrown) {
      signal.throwIfAborted();
      const other = toSecretError(thrown);
      throw new SecretError(other.code, `${error.message}, and ${other.message}`);
    }
  };

  return (identity, signal) =>
    proving.run(digestOf('pod-identity', identity.token.reveal()), signal, async () => {
      const answer = await askEither(identity, signal);
      if (answer.status !== 200) throw refusal(answer, identity.token.reveal());
      const keys = readBody(answer, session, 'the agent of EKS Pod Identity');
      return {
        accessKeyId: keys.AccessKeyId,
        secretAccessKey: new Redacted(keys.SecretAccessKey),
        sessionToken: new Redacted(keys.Token),
        expiresAt: keys.Expiration,
        account: keys.AccountId ?? 'the account of EKS Pod Identity',
      };
    });
}

function refusal(answer: HttpResponse, token: string): SecretError {
  const text = answer.body.toString();
  if (!text.includes('Exception') && answer.status !== 400)
    return new SecretError(
      'STORE_ANSWER_INVALID',
      `the address does not answer as the agent of EKS Pod Identity does (HTTP ${answer.status})`,
    );
  return new SecretError(
    'CREDENTIALS_REFUSED',
    `the agent of EKS Pod Identity refused the pod's token ${describe(answer, token)}`,
    { hint: hintOf(text) },
  );
}

/** `(HTTP 404: "[7d0f]: (ResourceNotFoundException): ...")`: the agent's only word is a line of text. */
function describe({ status, body }: HttpResponse, token: string): string {
  const text = body.toString().trim();
  return text === ''
    ? `(HTTP ${status})`
    : `(HTTP ${status}: "${sanitizeExternalText(text, [token])}")`;
}

function hintOf(text: string): string {
  if (text.includes('ResourceNotFound'))
    return 'create a Pod Identity association for this ServiceAccount in this cluster';
  if (text.includes('ExpiredToken')) return 'check the clock of this node';
  if (text.includes('AccessDenied'))
    return (
      'the trust policy of the associated role must allow sts:AssumeRole and sts:TagSession to pods.eks.amazonaws.com; ' +
      'the role of the node needs eks-auth:AssumeRoleForPodIdentity'
    );
  return 'see the log of eks-pod-identity-agent on this node';
}
