import type { z } from 'zod';
import { SecretError } from '../core/errors.ts';
import type { HttpResponse } from './client.ts';

/**
 * The body of a success, checked.
 * @param what who answered, for the message: `IAM`, `KMS`
 * @throws SecretError STORE_ANSWER_INVALID; its text says nothing of the answer's content
 */
export function readBody<T>(answer: HttpResponse, schema: z.ZodType<T>, what: string): T {
  const result = schema.safeParse(parseUtf8Json(answer.body));
  if (result.success) return result.data;
  const path = result.error.issues[0]?.path.join('.') ?? '';
  throw new SecretError(
    'STORE_ANSWER_INVALID',
    `${what} answered HTTP ${answer.status} with something we do not understand${path === '' ? '' : `, at ${path}`}`,
    { hint: 'check that the endpoint is the right one, and no proxy answers in its place' },
  );
}

/** How much our clock is ahead of the server's, in milliseconds; 0 where it does not say. */
export function skewOf({ headers }: HttpResponse, now: number): number {
  const date = Date.parse(headers.date ?? '');
  return Number.isNaN(date) ? 0 : now - date;
}

function parseUtf8Json(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body));
  } catch {
    return undefined;
  }
}
