import type { Retry } from '../../concurrency/retry.ts';
import { SecretError } from '../../core/errors.ts';
import type { CallContext as AnyAsker } from '../shared/reads/authenticated-call.ts';
import {
  type Fault,
  type Need,
  describeFault,
  isBadDate,
  isRefusal,
  isThrottled,
  isUnavailable,
  judge,
  readFault,
} from './errors.ts';
import type { Sdk } from './sdk.ts';
import { type AwsCredential, secretsOf } from './types.ts';

/** A call by one of the SDK's clients. */
export type Call<T> = {
  /** What shares one bucket of retries: `secretsmanager in eu-west-1`. */
  readonly endpoint: string;
  readonly signal: AbortSignal;
  /** What must not appear in a message. */
  readonly secrets: readonly string[];
  readonly send: (options: { readonly abortSignal: AbortSignal }) => Promise<T>;
  /** Awaited before each attempt: the rate limiter. */
  readonly beforeAttempt?: () => Promise<void>;
};

/** An answer, or why there is none. */
export type Answer<T> = { readonly output: T } | { readonly fault: Fault };

/**
 * Any answer but those that pass by themselves. Those are tried again, here and nowhere else; errors are told without what they repeat of a
 * request.
 * @throws SecretError STORE_UNAVAILABLE, STORE_TIMEOUT, STORE_THROTTLED, STORE_ANSWER_INVALID, STORE_ANSWER_TOO_LARGE; the signal's reason
 */
export async function callAws<T>(
  retry: Retry,
  { endpoint, signal, secrets, send, beforeAttempt }: Call<T>,
): Promise<Answer<T>> {
  const once = async (): Promise<Answer<T>> => {
    await beforeAttempt?.();
    try {
      return { output: await send({ abortSignal: signal }) };
    } catch (thrown) {
      signal.throwIfAborted();
      if (thrown instanceof SecretError) throw thrown;
      const fault = readFault(thrown);
      // Its text could name another's secret, and this is told to all who wait for the same service.
      const told = `${endpoint} ${describeFault({ ...fault, text: '' }, secrets)}`;
      if (isThrottled(fault)) throw new SecretError('STORE_THROTTLED', `too many calls: ${told}`);
      if (isUnavailable(fault))
        throw new SecretError('STORE_UNAVAILABLE', `the service failed: ${told}`);
      return { fault };
    }
  };
  const attempt = async (): Promise<Answer<T>> => {
    const answer = await once();
    // From the date of such an answer the SDK has learnt by how much the clock is off.
    return 'fault' in answer && isBadDate(answer.fault) ? once() : answer;
  };
  return retry.run(endpoint, signal, attempt);
}

/** The way to the services. */
export type Way = { readonly sdk: Sdk; readonly retry: Retry };

/** Who asks a service, in which region. */
export type Asker = AnyAsker<AwsCredential>;

/**
 * The output of a call, once its turn has come, if it is a success.
 * @throws SecretError saying what the service's code means; that a credential was refused names nothing but its owner, for it is told to all who
 *   use it
 */
export async function outputOf<T>(
  retry: Retry,
  { region, credential, owner, signal, beforeAttempt }: Asker,
  need: Need,
  send: (options: { readonly abortSignal: AbortSignal }) => Promise<T>,
): Promise<T> {
  const secrets = secretsOf(credential);
  const answer = await callAws(retry, {
    endpoint: `${need.service} in ${region}`,
    signal,
    secrets,
    send,
    beforeAttempt,
  });
  if ('output' in answer) return answer.output;
  const { fault } = answer;
  const told = describeFault(fault, secrets);
  if (isRefusal(fault))
    throw new SecretError(
      'CREDENTIALS_REFUSED',
      `AWS refused the credentials of ${owner} ${told}`,
      {
        hint: isBadDate(fault)
          ? 'set the clock of this node right'
          : `check that they are still valid, and that ${region} is enabled for their account`,
      },
    );
  const { code, says, hint } = judge(fault, need);
  throw new SecretError(code, `${says} ${told}`, hint === undefined ? {} : { hint });
}
