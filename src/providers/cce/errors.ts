import type { HttpResponse } from '../../http/client.ts';
import { type ErrorResponse, describeErrorResponse } from '../shared/reads/read-result.ts';

/** An answer that is no success, as far as it could be read. */
export type CceErrorResponse = ErrorResponse & { readonly status: number };

/** Reads the forms of errors that Huawei Cloud's services and gateways have: flat, nested, and in three spellings. */
export function parseCceErrorResponse({ status, headers, body }: HttpResponse): CceErrorResponse {
  const requestId = headers['x-request-id'] ?? headers['x-iam-trace-id'];
  const { code, text } = readError(parse(body.toString())) ?? { code: undefined, text: '' };
  // IAM repeats the status as its code.
  return { status, code: code === String(status) ? undefined : code, text, requestId };
}

/**
 * `(HTTP 400, CSMS.0106, request id 7d0f: "Secret does not exist.")`. An answer to a bad signature shows no text: it repeats the whole
 * request, security token included.
 */
export function describeCceErrorResponse(
  errorResponse: CceErrorResponse,
  secrets: readonly string[],
): string {
  const isShown = errorResponse.status !== 401 && !isBadSignature(errorResponse.code);
  return describeErrorResponse(isShown ? errorResponse : { ...errorResponse, text: '' }, secrets);
}

/** The gateway did not accept the signature, or the key. */
export function isBadSignature(code: string | undefined): boolean {
  return code === 'APIGW.0301' || code === 'APIG.0301';
}

/** The gateway lets no more calls through for the moment. */
export function isThrottled({ status, code }: CceErrorResponse): boolean {
  return status === 429 || code === 'APIGW.0308' || code === 'APIG.0308';
}

type ErrorText = { readonly code: string | undefined; readonly text: string };

function readError(value: unknown, mayNest = true): ErrorText | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  const code = firstText(fields, ['error_code', 'errorCode', 'code']);
  const text = firstText(fields, ['error_msg', 'errorMsg', 'message']);
  const encrypted =
    fields.encoded_authorization_message === undefined
      ? ''
      : ' (an encoded authorization message is attached)';
  if (code !== undefined || text !== undefined) return { code, text: `${text ?? ''}${encrypted}` };
  return mayNest ? readError(fields.error, false) : undefined;
}

function firstText(fields: Record<string, unknown>, names: readonly string[]): string | undefined {
  for (const name of names) {
    const value = fields[name];
    if (typeof value === 'string' && value !== '') return value;
    if (typeof value === 'number') return String(value);
  }
  return undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
