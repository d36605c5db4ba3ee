import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../../../core/errors.ts';
import { type Expiring, CredentialCache } from './credential-cache.ts';

const minute = 60_000;
const hour = 60 * minute;
const neverAborted = new AbortController().signal;
const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

type TestCredential = Expiring & { readonly loginNumber: number };

/** A cache, and a login that counts and whose keys live for `lifeMs`. */
function createFixture({ lifeMs = hour, max = 10 } = {}) {
  let now = 1_000_000;
  const state = { logins: 0, loginError: undefined as SecretError | undefined };
  const failures: SecretError[] = [];
  const cache = new CredentialCache<TestCredential>({
    now: () => now,
    renewBeforeMs: 5 * minute,
    max,
    onFailure: (error) => failures.push(error),
  });
  const login = async (): Promise<TestCredential> => {
    const loginNumber = (state.logins += 1);
    await tick();
    if (state.loginError !== undefined) throw state.loginError;
    return { loginNumber, expiresAt: now + lifeMs };
  };
  const get = async (key = 'alice', signal = neverAborted): Promise<number> =>
    (await cache.get(key, signal, login)).loginNumber;
  return {
    cache,
    get,
    login,
    state,
    failures,
    advanceClock: (ms: number): void => void (now += ms),
  };
}

test('makes one login for concurrent and for later callers', async () => {
  const { get, state } = createFixture();
  expect(await Promise.all(Array.from({ length: 200 }, () => get()))).toEqual(Array(200).fill(1));
  expect(await get()).toBe(1);
  expect(state.logins).toBe(1);
});

test('keeps the credentials of identities apart', async () => {
  const { get } = createFixture();
  expect(await Promise.all([get('alice'), get('bob')])).toEqual([1, 2]);
});

test('completes a login for the other callers when the first one leaves', async () => {
  const { get, state } = createFixture();
  const abortController = new AbortController();
  const first = get('alice', abortController.signal);
  const second = get();
  abortController.abort(new SecretError('CANCELLED', 'gone'));
  await expect(first).rejects.toThrow('gone');
  expect(await second).toBe(1);
  expect(state.logins).toBe(1);
});

test('does not cache a failed login', async () => {
  const { get, state } = createFixture();
  state.loginError = new SecretError('CREDENTIALS_UNAVAILABLE', 'away');
  await expect(get()).rejects.toThrow('away');
  state.loginError = undefined;
  expect(await get()).toBe(2);
});

describe('a credential that expires soon', () => {
  test('is replaced early and once, and no caller waits', async () => {
    const { get, advanceClock } = createFixture();
    await get();
    advanceClock(54 * minute);
    expect(await get()).toBe(1);
    advanceClock(2 * minute);
    expect(await Promise.all([get(), get(), get()])).toEqual([1, 1, 1]);
    await tick();
    expect(await get()).toBe(2);
  });

  test('is used for at least half of a short life', async () => {
    const { get, advanceClock, state } = createFixture({ lifeMs: 4 * minute });
    await get();
    advanceClock(minute);
    await get();
    expect(state.logins).toBe(1);
    advanceClock(1.5 * minute);
    await get();
    expect(state.logins).toBe(2);
  });

  test('still serves while logins fail, with a new attempt after 30 s', async () => {
    const { get, advanceClock, state, failures } = createFixture();
    await get();
    advanceClock(56 * minute);
    state.loginError = new SecretError('CREDENTIALS_UNAVAILABLE', 'away');
    expect(await get()).toBe(1);
    await tick();
    await tick();
    expect(await get()).toBe(1);
    expect(state.logins).toBe(2);
    expect(failures).toHaveLength(1);
    advanceClock(30_000);
    await get();
    expect(state.logins).toBe(3);
  });

  test('does not serve any more 30 s before it expires', async () => {
    const { get, advanceClock, state } = createFixture();
    await get();
    state.loginError = new SecretError('CREDENTIALS_UNAVAILABLE', 'away');
    advanceClock(hour - 30_000);
    await expect(get()).rejects.toThrow('away');
  });
});

describe('a credential that the store refused', () => {
  test('is replaced at once, and its successor after a minute', async () => {
    const { cache, login, advanceClock } = createFixture();
    const first = await cache.get('alice', neverAborted, login);
    expect(cache.invalidate('alice', first)).toBe(true);
    const second = await cache.get('alice', neverAborted, login);
    expect(second.loginNumber).toBe(2);
    advanceClock(minute - 1);
    expect(cache.invalidate('alice', second)).toBe(false);
    expect(await cache.get('alice', neverAborted, login)).toBe(second);
    advanceClock(1);
    expect(cache.invalidate('alice', second)).toBe(true);
    expect((await cache.get('alice', neverAborted, login)).loginNumber).toBe(3);
  });

  test('does not delay the replacement of another one', async () => {
    const { cache, login } = createFixture();
    cache.invalidate('alice', await cache.get('alice', neverAborted, login));
    const bob = await cache.get('bob', neverAborted, login);
    expect(cache.invalidate('bob', bob)).toBe(true);
  });

  test('is replaced also after the clock was set back', async () => {
    const { cache, login, advanceClock } = createFixture();
    cache.invalidate('alice', await cache.get('alice', neverAborted, login));
    const second = await cache.get('alice', neverAborted, login);
    advanceClock(-8 * hour);
    cache.invalidate('alice', second);
    expect((await cache.get('alice', neverAborted, login)).loginNumber).toBe(3);
  });

  test('does not affect its successor', async () => {
    const { cache, login, advanceClock } = createFixture();
    const first = await cache.get('alice', neverAborted, login);
    advanceClock(minute);
    cache.invalidate('alice', first);
    const second = await cache.get('alice', neverAborted, login);
    advanceClock(minute);
    cache.invalidate('alice', first);
    expect(await cache.get('alice', neverAborted, login)).toBe(second);
  });
});

test('keeps the most recently used credentials, up to the limit', async () => {
  const { get, state } = createFixture({ max: 2 });
  await get('a');
  await get('b');
  await get('a');
  await get('c');
  await get('a');
  expect(state.logins).toBe(3);
  await get('b');
  expect(state.logins).toBe(4);
});
