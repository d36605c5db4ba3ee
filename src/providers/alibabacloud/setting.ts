import type * as z from 'zod';
import { SecretError } from '../../errors/secret-error.ts';

/** A variable's text, trimmed; nothing where it is empty. */
export type Get = (name: string) => string | undefined;

/** A variable's value. @throws SecretError NOT_CONFIGURED */
export function checked<T>(name: string, text: string, schema: z.ZodType<T>, wanted: string): T {
  const result = schema.safeParse(text);
  if (result.success) return result.data;
  throw faulty(name, `must be ${wanted}`);
}

/** That a variable cannot be used. */
export function faulty(name: string, message: string, hint?: string): SecretError {
  return new SecretError(
    'NOT_CONFIGURED',
    `alibabacloud: ${name} ${message}`,
    hint === undefined ? {} : { hint },
  );
}
