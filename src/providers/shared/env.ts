import type * as z from 'zod';
import { SecretError } from '../../core/errors.ts';

/** A variable's text, trimmed; nothing where it is empty. */
export type Get = (name: string) => string | undefined;

/** Reads variables of an environment. */
export function reader(env: Readonly<Record<string, string | undefined>>): Get {
  return (name) => {
    const text = env[name]?.trim();
    return text === '' ? undefined : text;
  };
}

/** How a provider says what is wrong with its variables. */
export function settingsOf(provider: string) {
  /** That a variable cannot be used. */
  const faulty = (name: string, message: string, hint?: string): SecretError =>
    new SecretError('NOT_CONFIGURED', `${provider}: ${name} ${message}`, hint === undefined ? {} : { hint });
  return {
    faulty,
    /** A variable's value. @throws SecretError NOT_CONFIGURED */
    checked<T>(name: string, text: string, schema: z.ZodType<T>, wanted: string): T {
      const result = schema.safeParse(text);
      if (result.success) return result.data;
      throw faulty(name, `must be ${wanted}`);
    },
  };
}
