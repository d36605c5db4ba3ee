import { SecretError, toSecretError } from '../../../core/errors.ts';

/**
 * Runs a login. It marks an outage of the login service as such, because the secret store may be
 * up.
 * @param signal fires when no caller waits any more
 * @param about for messages: the owner of the keys, and the remedy if the error has no hint
 * @throws SecretError CREDENTIALS_UNAVAILABLE for an outage; what `login` throws; the signal's
 *   reason
 */
export function runLogin<T>(
  signal: AbortSignal,
  { owner, hint: defaultHint }: { readonly owner: string; readonly hint: string },
  login: () => Promise<T>,
): Promise<T> {
  const describe = ({ message, hint = defaultHint }: SecretError): OutageTexts => ({
    message: `no keys for ${owner}: ${message}`,
    hint,
  });
  return markOutage(signal, describe, login);
}

/** What a user reads about an outage of a service that gives credentials. */
export type OutageTexts = { readonly message: string; readonly hint: string };

/**
 * Gets credentials, and turns an outage of their service into CREDENTIALS_UNAVAILABLE. Other errors
 * do not change.
 * @throws SecretError CREDENTIALS_UNAVAILABLE; what `obtain` throws; the signal's reason
 */
export async function markOutage<T>(
  signal: AbortSignal,
  describe: (outage: SecretError) => OutageTexts,
  obtain: () => Promise<T>,
): Promise<T> {
  try {
    return await obtain();
  } catch (thrown) {
    signal.throwIfAborted();
    const error = toSecretError(thrown);
    if (error.kind !== 'outage' || error.code === 'CREDENTIALS_UNAVAILABLE') throw error;
    const { message, hint } = describe(error);
    const { requestId } = error;
    throw new SecretError('CREDENTIALS_UNAVAILABLE', message, { hint, requestId });
  }
}
