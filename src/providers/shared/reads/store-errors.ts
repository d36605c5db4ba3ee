import { type ErrorCode, SecretError } from '../../../core/errors.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import { repeatableText } from './repeatable-text.ts';

/** A response that is not a success, as far as the provider could parse it. */
export type ErrorResponse = {
  /** The HTTP status. Undefined if the response could not be read at all. */
  readonly status: number | undefined;
  /** The service's own code: `Forbidden.ResourceNotFound`, `CSMS.0106`. */
  readonly code: string | undefined;
  /** The service's own text, unsafe to show: see {@link describeErrorResponse}. */
  readonly text: string;
  readonly requestId: string | undefined;
  /** The pause that the service requests, in milliseconds; see `retryAfterOf`. */
  readonly retryAfterMs?: number | undefined;
};

/**
 * One row of a provider's table of store errors. `Response` is what the rows look at. `Context` is
 * what messages name: the service, the owner of the credential, the permission that is needed.
 */
export type StoreErrorRule<Response extends ErrorResponse, Context> = {
  readonly match: (response: Response) => boolean;
  readonly code: ErrorCode;
  /**
   * The cause, without the name of the secret: callers that read other secrets may share the error.
   */
  readonly message: string | ((context: Context, response: Response) => string);
  /** The remedy. */
  readonly hint?: string | ((context: Context, response: Response) => string | undefined);
  /**
   * Leaves out the service's text. Set it where that text can repeat what was signed, or name the
   * secret of one caller in an error that many callers share.
   */
  readonly hidesText?: true;
  /** The store did not process the request; see `SecretErrorDetails.unsent`. */
  readonly unsent?: true;
};

/**
 * Turns an error response into a SecretError by the first row that matches.
 * The message is the row's, followed by {@link describeErrorResponse}.
 * @param rules a complete table ends with a row that matches everything
 * @param secrets must not appear in the message
 */
export function classify<Response extends ErrorResponse, Context>(
  rules: readonly StoreErrorRule<Response, Context>[],
  response: Response,
  context: Context,
  secrets: readonly string[],
): SecretError {
  const rule = rules.find(({ match }) => match(response)) ?? unknownResponse;
  const { code, message, hint, hidesText = false, unsent = false } = rule;
  const hintText = typeof hint === 'function' ? hint(context, response) : hint;
  const messageText = typeof message === 'function' ? message(context, response) : message;
  const shown = hidesText ? { ...response, text: '' } : response;
  const { retryAfterMs, requestId } = response;
  return new SecretError(code, `${messageText} ${describeErrorResponse(shown, secrets)}`, {
    unsent,
    ...(hintText !== undefined && { hint: hintText }),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    ...(requestId !== undefined && { requestId: sanitizeExternalText(requestId, secrets) }),
  });
}

const unknownResponse: StoreErrorRule<ErrorResponse, unknown> = {
  match: () => true,
  code: 'STORE_ANSWER_INVALID',
  message: 'the service sent an unknown error',
};

/** Whether a row of the table matches. */
export function isKnownError<Response extends ErrorResponse, Context>(
  rules: readonly StoreErrorRule<Response, Context>[],
  response: Response,
): boolean {
  return rules.some(({ match }) => match(response));
}

/**
 * Formats a response for a message: `(HTTP 404, Forbidden.Key: "Resource not found.")`. Equal
 * errors have equal texts; see {@link repeatableText}.
 * @param secrets must not appear in the result
 */
export function describeErrorResponse(
  { status, code, text, requestId }: ErrorResponse,
  secrets: readonly string[],
): string {
  const details = [
    ...(status === undefined ? [] : [`HTTP ${status}`]),
    ...(code === undefined ? [] : [sanitizeExternalText(code, secrets)]),
  ].join(', ');
  if (text === '') return `(${details})`;
  return `(${details}: "${sanitizeStoreText(text, secrets, requestId)}")`;
}

/**
 * The text of an error of a store, safe to show and the same for equal errors.
 * @param secrets must not appear in the result
 */
export function sanitizeStoreText(
  text: string,
  secrets: readonly string[],
  requestId?: string,
): string {
  return sanitizeExternalText(text, secrets, (part) => repeatableText(part, requestId));
}
