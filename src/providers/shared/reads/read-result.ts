import { SecretError, toSecretError } from '../../../core/errors.ts';
import type { FetchResult } from '../../../core/provider.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';

/**
 * What a read comes to. A failure says what the user needs to find it: errors from below name no secret, for they may be told to many. Never
 * rejects.
 * @param subject `cce: secret db_login (v1) in eu-west-101`
 */
export async function toReadResult(
  pendingResult: Promise<FetchResult> | undefined,
  subject: string,
): Promise<FetchResult> {
  try {
    const result = await pendingResult;
    if (result === undefined) throw new SecretError('INTERNAL', 'it was not asked for');
    if ('error' in result) throw result.error;
    return result;
  } catch (thrown) {
    const { code, message, hint, cause } = toSecretError(thrown);
    const error = new SecretError(code, `${subject}: ${message}`, {
      ...(hint !== undefined && { hint }),
      ...(cause !== undefined && { cause }),
    });
    return {
      kind: code === 'OBJECT_NOT_FOUND' || code === 'OBJECT_DISABLED' ? 'absent' : 'failed',
      error,
    };
  }
}

/** An answer that is no success, as far as it could be read. */
export type ErrorResponse = {
  /** None where the answer could not be read at all. */
  readonly status: number | undefined;
  /** The service's own: `Forbidden.ResourceNotFound`, `CSMS.0106`. */
  readonly code: string | undefined;
  /** What the service says. Never to be shown as it is: see {@link describeErrorResponse}. */
  readonly text: string;
  readonly requestId: string | undefined;
};

/**
 * `(HTTP 404, Forbidden.ResourceNotFound, request id 7d0f: "Resource not found.")`. Who asks knows which texts repeat what was signed, and
 * leaves them empty.
 * @param secrets must not be in it
 */
export function describeErrorResponse(
  { status, code, text, requestId }: ErrorResponse,
  secrets: readonly string[],
): string {
  const details = [
    ...(status === undefined ? [] : [`HTTP ${status}`]),
    ...(code === undefined ? [] : [sanitizeExternalText(code, secrets)]),
    ...(requestId === undefined ? [] : [`request id ${sanitizeExternalText(requestId, secrets)}`]),
  ].join(', ');
  return text === '' ? `(${details})` : `(${details}: "${sanitizeExternalText(text, secrets)}")`;
}
