import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';

/** Returns the trimmed value of a variable. Undefined if the variable is not set or empty. */
export type EnvReader = (name: string) => string | undefined;

/** Makes the reader of an environment. */
export function createEnvReader(env: Readonly<Record<string, string | undefined>>): EnvReader {
  return (name) => {
    const text = env[name]?.trim();
    return text === '' ? undefined : text;
  };
}

/** A variable that is set. */
export type Setting = { readonly name: string; readonly text: string };

/** Finds the first of the variables that is set. */
export function findSetting(get: EnvReader, ...names: readonly string[]): Setting | undefined {
  for (const name of names) {
    const text = get(name);
    if (text !== undefined) return { name, text };
  }
  return undefined;
}

const rate = z.coerce.number().positive().max(10_000);

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

  /**
   * Parses the value of a variable.
   * @param schema a schema, or a function that returns undefined for a value that cannot be used
   * @param expected for the message: `a number above 0`
   * @throws SecretError NOT_CONFIGURED
   */
  const parseSetting = <T>(
    { name, text }: Setting,
    schema: z.ZodType<T> | ((text: string) => T | undefined),
    expected: string,
  ): T => {
    const value = typeof schema === 'function' ? schema(text) : schema.safeParse(text).data;
    if (value !== undefined) return value;
    throw settingError(name, `must be ${expected}, not ${sanitizeUserText(text)}`);
  };

  /**
   * Parses a number above 0, such as calls a second.
   * @throws SecretError NOT_CONFIGURED
   */
  const parseRate = (setting: Setting): number => parseSetting(setting, rate, 'a number above 0');

  return { settingError, parseSetting, parseRate };
}
