import { quoteForeign } from '../errors/status-text.ts';

/** An answer that is no success, as far as it could be read. */
export type AnswerFault = {
  /** None where the answer could not be read at all. */
  readonly status: number | undefined;
  /** The service's own: `Forbidden.ResourceNotFound`, `CSMS.0106`. */
  readonly code: string | undefined;
  /** What the service says. Never to be shown as it is: see {@link describeAnswer}. */
  readonly text: string;
  readonly requestId: string | undefined;
};

/**
 * `(HTTP 404, Forbidden.ResourceNotFound, request id 7d0f: "Resource not found.")`. Who asks knows which texts repeat what was signed, and
 * leaves them empty.
 * @param secrets must not be in it
 */
export function describeAnswer(
  { status, code, text, requestId }: AnswerFault,
  secrets: readonly string[],
): string {
  const facts = [
    ...(status === undefined ? [] : [`HTTP ${status}`]),
    ...(code === undefined ? [] : [quoteForeign(code, secrets)]),
    ...(requestId === undefined ? [] : [`request id ${quoteForeign(requestId, secrets)}`]),
  ].join(', ');
  return text === '' ? `(${facts})` : `(${facts}: "${quoteForeign(text, secrets)}")`;
}
