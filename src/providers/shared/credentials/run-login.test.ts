import { describe, expect, test } from '@jest/globals';
import { rejectedError } from '../../../../test/fakes/failure.ts';
import { SecretError } from '../../../core/errors.ts';
import { runLogin } from './run-login.ts';

const neverAborted = new AbortController().signal;
const loginOptions = { owner: 'the role app', hint: 'check the way to STS' };

const failWith = (error: SecretError, signal = neverAborted): Promise<SecretError> =>
  rejectedError(runLogin(signal, loginOptions, () => Promise.reject(error)));

describe('runLogin', () => {
  test('returns the result of the login', async () => {
    expect(await runLogin(neverAborted, loginOptions, async () => 'keys')).toBe('keys');
  });

  test('reports an outage as CREDENTIALS_UNAVAILABLE, with the owner of the keys', async () => {
    const { code, summary } = await failWith(
      new SecretError('STORE_TIMEOUT', 'sts did not respond'),
    );
    expect(code).toBe('CREDENTIALS_UNAVAILABLE');
    expect(summary).toBe('no keys for the role app: sts did not respond; check the way to STS');
  });

  test('keeps the hint of the outage', async () => {
    const outage = new SecretError('STORE_UNAVAILABLE', 'no such host', {
      hint: 'check the region',
    });
    expect((await failWith(outage)).hint).toBe('check the region');
  });

  test.each(['CREDENTIALS_REFUSED', 'CREDENTIALS_UNAVAILABLE', 'NOT_CONFIGURED'] as const)(
    'does not change %s',
    async (code) => {
      const error = new SecretError(code, 'as it stands');
      expect(await failWith(error)).toBe(error);
    },
  );

  test("throws the signal's reason after the signal fired", async () => {
    const cancelled = new SecretError('DEADLINE', 'too late');
    expect(
      await failWith(new SecretError('STORE_TIMEOUT', 'cut off'), AbortSignal.abort(cancelled)),
    ).toBe(cancelled);
  });
});
