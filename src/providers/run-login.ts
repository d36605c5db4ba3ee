import { SecretError, toSecretError } from '../errors/secret-error.ts';

/**
 * Runs a login, and tells an outage of it from one of the store.
 * @param signal fires when nobody waits any more
 * @param about for messages: whose keys they are, and what to do where the outage does not say
 * @throws SecretError CREDENTIALS_UNAVAILABLE for an outage; else what `work` throws; the signal's reason where it has fired
 */
export async function runLogin<T>(
  signal: AbortSignal,
  { owner, hint }: { readonly owner: string; readonly hint: string },
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    signal.throwIfAborted();
    const error = toSecretError(thrown);
    if (error.kind !== 'outage' || error.code === 'CREDENTIALS_UNAVAILABLE') throw error;
    throw new SecretError('CREDENTIALS_UNAVAILABLE', `no keys for ${owner}: ${error.message}`, {
      hint: error.hint ?? hint,
    });
  }
}
