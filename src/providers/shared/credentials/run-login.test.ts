import { describe, expect, test } from '@jest/globals';
import { rejectedError } from '../../../../test/fakes/failure.ts';
import { SecretError } from '../../../core/errors.ts';
import { runLogin } from './credential-cache.ts';

const loginOptions = { owner: 'the role app', hint: 'check the way to STS' };
const neverAborted = new AbortController().signal;

const failWith = (error: SecretError, signal = neverAborted): Promise<SecretError> =>
  rejectedError(runLogin(signal, loginOptions, () => Promise.reject(error)));

describe('a login', () => {
  test('answers what it obtains', async () => {
    expect(await runLogin(neverAborted, loginOptions, async () => 'keys')).toBe('keys');
  });

  test('that cannot be reached is no outage of the store, and says whose it is', async () => {
    const { code, summary } = await failWith(
      new SecretError('STORE_TIMEOUT', 'sts did not answer'),
    );
    expect(code).toBe('CREDENTIALS_UNAVAILABLE');
    expect(summary).toBe('no keys for the role app: sts did not answer; check the way to STS');
  });

  test('keeps the advice of the outage', async () => {
    const outage = new SecretError('STORE_UNAVAILABLE', 'no such host', {
      hint: 'check the region',
    });
    expect((await failWith(outage)).hint).toBe('check the region');
  });

  test.each(['CREDENTIALS_REFUSED', 'CREDENTIALS_UNAVAILABLE', 'NOT_CONFIGURED'] as const)(
    'that ends with %s does so as it stands',
    async (code) => {
      const error = new SecretError(code, 'as it stands');
      expect(await failWith(error)).toBe(error);
    },
  );

  test('that nobody waits for any more ends for their reason', async () => {
    const cancelled = new SecretError('DEADLINE', 'too late');
    expect(
      await failWith(new SecretError('STORE_TIMEOUT', 'cut off'), AbortSignal.abort(cancelled)),
    ).toBe(cancelled);
  });
});
