import { Redacted } from '../../../core/redacted.ts';
import { SecretError } from '../../../core/errors.ts';
import { raceWithAbort } from '../../../concurrency/single-flight.ts';
import type { HttpClient } from '../../../http/client.ts';
import { describeFault, isThrottled, isUnavailable, readFault } from '../errors.ts';
import type { AwsCredential } from '../types.ts';
import { createRequestHandler } from '../sdk.ts';

/** What stands for keys that do not say whose they are. */
const unknownAccount = "Keyferry's own account";

/**
 * Keyferry's own identity, as the SDK finds it: environment, `~/.aws`, web identity, EKS Pod Identity or ECS, the metadata of the instance, in
 * the SDK's order. Reached only where the operator lends it. What of it speaks to AWS's services goes by our own door.
 */
export function createOwnChain({ http }: { readonly http: HttpClient }) {
  const requestHandler = createRequestHandler(http);

  return async (region: string, signal: AbortSignal): Promise<AwsCredential> => {
    const { defaultProvider } = await import('@aws-sdk/credential-provider-node');
    // Made anew for each login: it keeps what it has found.
    const find = defaultProvider({ clientConfig: { region, requestHandler, maxAttempts: 1 } });
    try {
      const keys = await raceWithAbort(find(), signal);
      return {
        accessKeyId: keys.accessKeyId,
        secretAccessKey: new Redacted(keys.secretAccessKey),
        ...(keys.sessionToken !== undefined && { sessionToken: new Redacted(keys.sessionToken) }),
        ...(keys.expiration !== undefined && { expiresAt: keys.expiration.getTime() }),
        account: keys.accountId ?? unknownAccount,
      };
    } catch (thrown) {
      signal.throwIfAborted();
      throw failure(thrown, region);
    }
  };
}

/** What the chain says beyond AWS's own answers is not repeated: it quotes files and addresses. */
function failure(thrown: unknown, region: string): SecretError {
  if (thrown instanceof SecretError) return thrown;
  const fault = readFault(thrown);
  if (fault.code === undefined)
    return new SecretError('NOT_CONFIGURED', 'Keyferry has no AWS credentials of its own', {
      hint: 'give its ServiceAccount a role by IRSA or EKS Pod Identity, or its node an instance profile',
    });
  const told = `STS in ${region} ${describeFault({ ...fault, text: '' }, [])}`;
  if (isThrottled(fault) || isUnavailable(fault))
    return new SecretError(
      'CREDENTIALS_UNAVAILABLE',
      `no keys for Keyferry's own identity: ${told}`,
    );
  return new SecretError('CREDENTIALS_REFUSED', `AWS refused Keyferry its own role: ${told}`, {
    hint: 'check the trust policy of the role',
  });
}
