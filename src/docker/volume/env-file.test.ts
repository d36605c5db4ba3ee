import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../../core/errors.ts';
import { envFile } from './env-file.ts';

const file = (variables: Readonly<Record<string, string>>): string =>
  envFile(
    new Map(Object.entries(variables).map(([name, value]) => [name, Buffer.from(value)])),
  ).toString();

/** The error for one variable, which the test expects. */
function errorOf(name: string, value: string | Uint8Array): SecretError {
  try {
    envFile(new Map([[name, Buffer.from(value)]]));
  } catch (error) {
    if (error instanceof SecretError) return error;
    throw error;
  }
  throw new Error('there was no error');
}

describe('envFile', () => {
  test('ends each entry by a NUL byte, in the order of the variables', () => {
    expect(file({ B: '2', A: 'x=y\n', EMPTY: '', 'a.b': 'ü' })).toBe(
      'B=2\0A=x=y\n\0EMPTY=\0a.b=ü\0',
    );
    expect(file({})).toBe('');
  });

  test.each(['', 'A=B', 'A\0', 'A\nB', '\x7f', '\ud800'])('refuses the name %j', (name) => {
    const { code, hint, message } = errorOf(name, 'hunter2');
    expect({ code, hint }).toEqual({ code: 'INVALID_REQUEST', hint: 'rename it' });
    expect(message).toContain('has an invalid name');
    expect(message).not.toContain('hunter2');
  });

  test.each<[string, string | Uint8Array, string]>([
    ['a NUL byte', 'hun\0ter2', 'it has a NUL byte'],
    ['bytes that are not UTF-8', Buffer.from('hunter2\xff', 'latin1'), 'it is not UTF-8'],
  ])('refuses a value with %s, and names the remedy', (_, value, cause) => {
    expect(errorOf('DB_PASSWORD', value)).toMatchObject({
      code: 'INVALID_ENCODING',
      message: `the environment variable DB_PASSWORD cannot hold a binary value: ${cause}`,
      hint: 'use dsofile:// for it',
    });
  });

  test('refuses an entry of 131,072 bytes, and names the remedy', () => {
    const value = 'ü'.repeat((131_072 - 'A='.length) / 2);
    expect(errorOf('A', value)).toMatchObject({
      code: 'RESPONSE_TOO_LARGE',
      message:
        'the environment variable A has 131072 bytes with its name, and a program starts with at most 131071',
      hint: 'use dsofile:// for it',
    });
    expect(file({ A: 'x'.repeat(131_071 - 'A='.length) })).toHaveLength(131_072);
  });
});
