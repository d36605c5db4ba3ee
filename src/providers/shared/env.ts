import type * as z from 'zod';
import { SecretError } from '../../core/errors.ts';

/** A variable's text, trimmed; nothing where it is empty. */
export type EnvReader = (name: string) => string | undefined;

/** Reads variables of an environment. */
export function createEnvReader(env: Readonly<Record<string, string | undefined>>): EnvReader {
  return (name) => {
    const text = env[name]?.trim();
    return text === '' ? undefined : text;
  };
}

/** How a provider says what is wrong with its variables. */
export function createSettingParser(provider: string) {
  /** That a variable cannot be used. */
  const settingError = (name: string, message: string, hint?: string): SecretError =>
    new SecretError(
      'NOT_CONFIGURED',
      `${provider}: ${name} ${message}`,
      hint === undefined ? {} : { hint },
    );
  return {
    settingError,
    /** A variable's value. @throws SecretError NOT_CONFIGURED */
    parseSetting<T>(name: string, text: string, schema: z.ZodType<T>, expected: string): T {
      const result = schema.safeParse(text);
      if (result.success) return result.data;
      throw settingError(name, `must be ${expected}`);
    },
  };
}
