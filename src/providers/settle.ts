import { SecretError, toSecretError } from '../errors/secret-error.ts';
import type { FetchResult } from './provider.ts';

/**
 * What a read comes to. A failure says what the user needs to find it: errors from below name no secret, for they may be told to many. Never
 * rejects.
 * @param what `cce: secret db_login (v1) in eu-west-101`
 */
export async function settle(answer: Promise<FetchResult> | undefined, what: string): Promise<FetchResult> {
  try {
    const result = await answer;
    if (result === undefined) throw new SecretError('INTERNAL', 'it was not asked for');
    if ('error' in result) throw result.error;
    return result;
  } catch (thrown) {
    const { code, message, hint, cause } = toSecretError(thrown);
    const error = new SecretError(code, `${what}: ${message}`, {
      ...(hint !== undefined && { hint }),
      ...(cause !== undefined && { cause }),
    });
    return { kind: code === 'OBJECT_NOT_FOUND' || code === 'OBJECT_DISABLED' ? 'absent' : 'failed', error };
  }
}
