import type * as z from 'zod';
import { SecretError } from '../../core/errors.ts';

/** Returns the trimmed value of a variable. Undefined if the variable is not set or empty. */
export type EnvReader = (name: string) => string | undefined;

/** Makes the reader of an environment. */
export function createEnvReader(env: Readonly<Record<string, string | undefined>>): EnvReader {
  return (name) => {
    const text = env[name]?.trim();
    return text === '' ? undefined : text;
  };
}

/**
 * Makes the functions that check the variables of a provider.
 * @param provider for messages
 */
export function createSettingParser(provider: string) {
  /** The error for a variable that cannot be used. */
  const settingError = (name: string, message: string, hint?: string): SecretError =>
    new SecretError(
      'NOT_CONFIGURED',
      `${provider}: ${name} ${message}`,
      hint === undefined ? {} : { hint },
    );
  return {
    settingError,
    /**
     * Parses the value of a variable.
     * @param expected for the message: `a number above 0`
     * @throws SecretError NOT_CONFIGURED
     */
    parseSetting<T>(name: string, text: string, schema: z.ZodType<T>, expected: string): T {
      const result = schema.safeParse(text);
      if (result.success) return result.data;
      throw settingError(name, `must be ${expected}`);
    },
  };
}
