import { expect } from '@jest/globals';
import { SecretError } from '../../src/errors/secret-error.ts';

/** The error that a promise is to fail with. */
export async function failureOf(asked: Promise<unknown>): Promise<SecretError> {
  const error: unknown = await asked.then(
    () => 'answered',
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SecretError);
  return error as SecretError;
}
