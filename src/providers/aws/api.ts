import { SecretError } from '../../errors/secret-error.ts';
import type { Retry } from '../../flow/retry.ts';
import { describeFault, isBadDate, isThrottled, isUnavailable, readFault, type Fault } from './fault.ts';

/** A call by one of the SDK's clients. */
export type Call<T> = {
  /** What shares one bucket of retries: `secretsmanager in eu-west-1`. */
  readonly endpoint: string;
  readonly signal: AbortSignal;
  /** What must not appear in a message. */
  readonly secrets: readonly string[];
  readonly send: (options: { readonly abortSignal: AbortSignal }) => Promise<T>;
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
  { endpoint, signal, secrets, send }: Call<T>,
): Promise<Answer<T>> {
  const once = async (): Promise<Answer<T>> => {
    try {
      return { output: await send({ abortSignal: signal }) };
    } catch (thrown) {
      signal.throwIfAborted();
      if (thrown instanceof SecretError) throw thrown;
      const fault = readFault(thrown);
      // Its text could name another's secret, and this is told to all who wait for the same service.
      const told = `${endpoint} ${describeFault({ ...fault, text: '' }, secrets)}`;
      if (isThrottled(fault)) throw new SecretError('STORE_THROTTLED', `too many calls: ${told}`);
      if (isUnavailable(fault)) throw new SecretError('STORE_UNAVAILABLE', `the service failed: ${told}`);
      return { fault };
    }
  };
  const attempt = async (): Promise<Answer<T>> => {
    const answer = await once();
    // From the date of such an answer the SDK has learnt by how much the clock is off.
    return 'fault' in answer && isBadDate(answer.fault) ? once() : answer;
  };
  return retry.run(
    endpoint,
    signal,
    attempt,
    ({ code, kind }) => kind === 'outage' && code !== 'STORE_ANSWER_INVALID',
  );
}
