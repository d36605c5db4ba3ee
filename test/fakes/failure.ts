import { expect } from '@jest/globals';
import { SecretError } from '../../src/core/errors.ts';

/** The error that a promise is to fail with. */
export async function rejectedError(promise: Promise<unknown>): Promise<SecretError> {
  const error: unknown = await promise.then(
    () => 'no error',
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SecretError);
  return error as SecretError;
}

/** The error that `work` is to throw. */
export function thrownError(work: () => unknown): SecretError {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof SecretError) return thrown;
    throw thrown;
  }
  throw new Error('it did not fail');
}

/** `CODE: message; hint` of what `work` throws, or `taken`. */
export function thrownSummary(work: () => unknown): string {
  try {
    work();
    return 'taken';
  } catch (error) {
    return error instanceof SecretError ? `${error.code}: ${error.summary}` : String(error);
  }
}
