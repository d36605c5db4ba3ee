import type { Retry } from '../../concurrency/retry.ts';
import { SecretError } from '../../core/errors.ts';
import type { CallContext } from '../shared/reads/authenticated-call.ts';
import { classify, isKnownError } from '../shared/reads/store-errors.ts';
import {
  type AwsErrorResponse,
  isBadDate,
  parseErrorResponse,
  readErrors,
  transientErrors,
} from './errors.ts';
import type { Sdk } from './sdk.ts';
import { type AwsCredential, secretsOf } from './types.ts';

/** What calls to AWS's services need. */
export type AwsCallDeps = {
  readonly sdk: Sdk;
  readonly retry: Retry;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** Sends a command by one of the SDK's clients. */
export type Send<Output> = (options: { readonly abortSignal: AbortSignal }) => Promise<Output>;

/** A call by one of the SDK's clients. */
export type Call<Output> = {
  /** `Secrets Manager`, `SSM`, `STS`. With the region it has one bucket of retries. */
  readonly service: string;
  readonly region: string;
  readonly signal: AbortSignal;
  /** What must not appear in a message. */
  readonly secrets: readonly string[];
  readonly send: Send<Output>;
  /** Awaited before each attempt: the rate limiter. */
  readonly beforeAttempt?: () => Promise<void>;
};

/** The output of a success, or the error response of the service. */
export type CallResult<Output> =
  { readonly output: Output; readonly error?: undefined } | { readonly error: AwsErrorResponse };

/**
 * Sends a call, and retries it after a transient error. No other layer retries after such an error.
 * A call that AWS rejects for its date is sent once more, because the SDK has then corrected its
 * clock.
 * @throws SecretError STORE_UNAVAILABLE, STORE_TIMEOUT, STORE_THROTTLED, STORE_ANSWER_INVALID,
 *   STORE_ANSWER_TOO_LARGE; what `beforeAttempt` throws; the signal's reason
 */
export async function callAws<Output>(
  { retry, now }: Pick<AwsCallDeps, 'retry' | 'now'>,
  { service, region, signal, secrets, send, beforeAttempt }: Call<Output>,
): Promise<CallResult<Output>> {
  const sendOnce = async (): Promise<CallResult<Output>> => {
    await beforeAttempt?.();
    try {
      return { output: await send({ abortSignal: signal }) };
    } catch (thrown) {
      signal.throwIfAborted();
      if (thrown instanceof SecretError) throw thrown;
      const error = parseErrorResponse(thrown, now());
      if (isKnownError(transientErrors, error))
        throw classify(transientErrors, error, { service, region }, secrets);
      return { error };
    }
  };
  const attempt = async (): Promise<CallResult<Output>> => {
    const result = await sendOnce();
    // The SDK has corrected its clock by the date of this response.
    return result.error !== undefined && isBadDate(result.error) ? sendOnce() : result;
  };
  return retry.run(`${service} in ${region}`, signal, attempt);
}

/** Who calls a service, and in which region. */
export type AwsCallContext = CallContext<AwsCredential>;

/** An operation that reads secrets. Hints name the action and the resource. */
export type ReadOperation = {
  /** `Secrets Manager`, `SSM` */
  readonly service: string;
  /** `secretsmanager:GetSecretValue` */
  readonly action: string;
  /** The resource as a policy names it; see {@link resourceOf}. */
  readonly resource: string;
};

/**
 * Sends a call that reads secrets, and returns the output of a success.
 * @throws SecretError by {@link readErrors}; see also {@link callAws}. CREDENTIALS_REFUSED names
 *   only the owner of the credential, because all its users get this error.
 */
export async function outputOf<Output>(
  deps: Pick<AwsCallDeps, 'retry' | 'now'>,
  { region, credential, owner, signal, beforeAttempt }: AwsCallContext,
  operation: ReadOperation,
  send: Send<Output>,
): Promise<Output> {
  const secrets = secretsOf(credential);
  const { service } = operation;
  const result = await callAws(deps, { service, region, signal, secrets, send, beforeAttempt });
  if (result.error === undefined) return result.output;
  throw classify(readErrors, result.error, { ...operation, region, owner }, secrets);
}

/**
 * How a policy names an object, for hints:
 * `arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-??????`.
 * @param account `*` if the account is not known
 * @param name as it is sent; an ARN is returned unchanged
 */
export function resourceOf(
  service: 'secretsmanager' | 'ssm',
  region: string,
  account: string,
  name: string,
): string {
  if (name.startsWith('arn:')) return name;
  const accountId = /^\d{12}$/.test(account) ? account : '*';
  const tail = service === 'ssm' ? `parameter/${name.replace(/^\//, '')}` : `secret:${name}-??????`;
  return `arn:${partitionOf(region)}:${service}:${region}:${accountId}:${tail}`;
}

function partitionOf(region: string): string {
  if (region.startsWith('cn-')) return 'aws-cn';
  return region.startsWith('us-gov-') ? 'aws-us-gov' : 'aws';
}
