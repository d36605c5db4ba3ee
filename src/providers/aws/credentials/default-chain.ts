import { raceWithAbort } from '../../../concurrency/deadline.ts';
import { SecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import type { HttpClient } from '../../../http/client.ts';
import { classify } from '../../shared/reads/store-errors.ts';
import { defaultChainErrors, parseThrownError } from '../errors.ts';
import type { AwsCredential } from '../types.ts';
import { createRequestHandler } from './request-handler.ts';

/** Shares a rate limiter between keys whose account is not known. */
const unknownAccount = "Keyferry's own account";

/**
 * Obtains Keyferry's own identity from the SDK's default credential chain: environment, `~/.aws`,
 * web identity, EKS Pod Identity or ECS, the metadata of the instance. Used only where the operator
 * switched it on. The chain's calls to AWS's services use Keyferry's HTTP client.
 */
export function createDefaultChain({
  http,
  now,
}: {
  readonly http: HttpClient;
  readonly now: () => number;
}) {
  const requestHandler = createRequestHandler(http);

  return async (region: string, signal: AbortSignal): Promise<AwsCredential> => {
    const { defaultProvider } = await import('@aws-sdk/credential-provider-node');
    // A new one for each login, because it caches what it found.
    const provide = defaultProvider({ clientConfig: { region, requestHandler, maxAttempts: 1 } });
    try {
      const keys = await raceWithAbort(provide(), signal);
      return {
        accessKeyId: keys.accessKeyId,
        secretAccessKey: new Redacted(keys.secretAccessKey),
        ...(keys.sessionToken !== undefined && { sessionToken: new Redacted(keys.sessionToken) }),
        ...(keys.expiration !== undefined && { expiresAt: keys.expiration.getTime() }),
        account: keys.accountId ?? unknownAccount,
      };
    } catch (thrown) {
      signal.throwIfAborted();
      if (thrown instanceof SecretError) throw thrown;
      const response = parseThrownError(thrown, now());
      if (response.code === undefined) throw noCredentialsError();
      throw classify(defaultChainErrors, response, { service: 'STS', region }, []);
    }
  };
}

/** Leaves out the text of the chain, which quotes files and addresses. */
function noCredentialsError(): SecretError {
  return new SecretError('NOT_CONFIGURED', 'Keyferry has no AWS credentials of its own', {
    hint: 'give its ServiceAccount a role by IRSA or EKS Pod Identity, or its node an instance profile',
  });
}
