import { SecretError, toSecretError } from '../../../core/errors.ts';
import type { FetchResult } from '../../../core/provider.ts';

/**
 * Converts a pending read to a result. Never rejects.
 *
 * Errors of the calls below name no secret, because several readers can share them. This function
 * puts the secret's name before the message.
 * @param subject `cce: secret db_login (v1) in eu-west-101`
 */
export async function toReadResult(
  pendingResult: Promise<FetchResult> | undefined,
  subject: string,
): Promise<FetchResult> {
  try {
    const result = await pendingResult;
    if (result === undefined) throw new SecretError('INTERNAL', 'the provider did not read it');
    if ('error' in result) throw result.error;
    return result;
  } catch (thrown) {
    const error = toSecretError(thrown);
    const { code, message } = error;
    return {
      kind: code === 'OBJECT_NOT_FOUND' || code === 'OBJECT_DISABLED' ? 'absent' : 'failed',
      error: error.with({ message: `${subject}: ${message}` }),
    };
  }
}
