import type { z } from 'zod';
import { SecretError } from '../core/errors.ts';
import type { HttpResponse } from './client.ts';

/**
 * Parses the JSON body of a success.
 * @param source who sent the response, for the message: `IAM`, `KMS`
 * @throws SecretError STORE_ANSWER_INVALID; its text contains nothing of the body
 */
export function readBody<T>(response: HttpResponse, schema: z.ZodType<T>, source: string): T {
  const result = schema.safeParse(parseJson(response.body));
  if (result.success) return result.data;
  const path = result.error.issues[0]?.path.join('.') ?? '';
  throw new SecretError(
    'STORE_ANSWER_INVALID',
    `${source} sent a response (HTTP ${response.status}) that Keyferry does not understand${path === '' ? '' : `, at ${path}`}`,
    { hint: 'check that the endpoint is the right one, and that no proxy responds in its place' },
  );
}

/** How far our clock is ahead of the server's, in milliseconds; 0 without a Date header. */
export function skewOf({ headers }: Pick<HttpResponse, 'headers'>, now: number): number {
  const date = Date.parse(headers.date ?? '');
  return Number.isNaN(date) ? 0 : now - date;
}

/**
 * The pause that a server requests, in milliseconds, from now; undefined where it requests none.
 * Reads `Retry-After` in seconds or as a date (RFC 9110, 10.2.3), and Alibaba Cloud's
 * `x-acs-retry-after` in milliseconds.
 * @param now milliseconds since the epoch
 */
export function retryAfterOf(
  headers: Readonly<Record<string, string | undefined>>,
  now: number,
): number | undefined {
  const milliseconds = /^\d{1,9}$/.exec(headers['x-acs-retry-after']?.trim() ?? '')?.[0];
  if (milliseconds !== undefined) return Number(milliseconds);
  const text = headers['retry-after']?.trim() ?? '';
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  // Date.parse takes numbers and words that are not an HTTP date; all HTTP dates begin with a
  // weekday.
  const date = /^[A-Z][a-z]{2,8},? /.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(date)) return undefined;
  return Math.max(0, date - now);
}

/** The value of a JSON body. Undefined where the body is no JSON, or not UTF-8. */
export function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body));
  } catch {
    return undefined;
  }
}

const xmlEntities: Readonly<Record<string, string>> = {
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  amp: '&',
};

/**
 * The text of the first element of a name, which has neither attributes nor elements. This is
 * enough for `<Error><Code>...</Code></Error>`. Undefined if there is no such element.
 */
export function readXmlText(content: string, name: string): string | undefined {
  const start = content.indexOf(`<${name}>`);
  const end = start === -1 ? -1 : content.indexOf('<', start + 1);
  if (end === -1) return undefined;
  const text = content.slice(start + name.length + 2, end);
  return text.replace(/&(\w+);/g, (reference, entity: string) => xmlEntities[entity] ?? reference);
}
